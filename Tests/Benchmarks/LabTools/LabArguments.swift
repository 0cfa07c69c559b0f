/// The words behind a lab's name, taken one by one.
package struct LabArguments {
    private var rest: ArraySlice<String>

    package init(_ arguments: [String]) { rest = arguments[...] }

    /// The next word; nil behind the last.
    package mutating func next() -> String? { rest.popFirst() }

    /// Whether the next word is `word`, which is then taken.
    package mutating func begins(with word: String) -> Bool {
        guard rest.first == word else { return false }
        rest.removeFirst()
        return true
    }

    /// What stands behind a flag.
    package mutating func value(of flag: String) throws -> String {
        guard let value = rest.popFirst() else { throw LabFailure("\(flag) needs a value") }
        return value
    }

    package mutating func number(of flag: String, in range: ClosedRange<Int>) throws -> Int {
        guard let number = Int(try value(of: flag)), range.contains(number) else {
            throw LabFailure("\(flag) is a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}

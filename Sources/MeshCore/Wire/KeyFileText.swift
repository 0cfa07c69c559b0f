/// The text of a key file while it is changed: comments, order and everything else stay as a person left them.
public struct KeyFileText: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// Holds the secrets.
    public private(set) var bytes: [UInt8]

    /// - Throws: ``KeyFileError`` for what is no key file.
    public init(_ bytes: [UInt8]) throws(KeyFileError) {
        _ = try KeyFile(parsing: bytes)
        self.bytes = bytes
    }

    /// Puts a new key behind the last of a ring, so that it is the one to be used. `generator` must be the operating system's.
    /// - Returns: its number: one above the greatest, as a number that comes back with another secret is refused by whoever knows the first.
    public mutating func addKey(
        to ring: KeyRing, using generator: inout some RandomNumberGenerator
    ) throws(KeyFileError) -> UInt16 {
        let file = try KeyFile(parsing: bytes)
        let numbers =
            switch ring {
            case .gossip: file.gossip.keys.map(\.number)
            case .cookie: file.cookie.map(\.number)
            }
        let greatest = numbers.max() ?? 0
        let number = greatest < .max ? greatest + 1 : (1...UInt16.max).first { !numbers.contains($0) } ?? 1
        let secret = Base64URL.encode(KeyFile.newSecret(using: &generator))
        var lines = self.lines
        let last = lines.lastIndex { Self.number(of: $0, in: ring) != nil } ?? lines.endIndex - 1
        lines.insert((Array("\(ring.rawValue) \(number) ".utf8) + secret)[...], at: last + 1)
        try replace(with: lines)
        return number
    }

    /// Takes one key out of a ring.
    public mutating func dropKey(_ number: UInt16, from ring: KeyRing) throws(KeyFileError) {
        let lines = self.lines
        let rest = lines.filter { Self.number(of: $0, in: ring) != number }
        guard rest.count < lines.count else { throw KeyFileError(line: nil, problem: .noSuchKey(ring)) }
        try replace(with: rest)
    }

    private mutating func replace(with lines: [ArraySlice<UInt8>]) throws(KeyFileError) {
        let changed = Array(lines.joined(separator: [UInt8(ascii: "\n")]))
        _ = try KeyFile(parsing: changed)
        bytes = changed
    }

    private var lines: [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) }

    /// Nil for a line that holds no key of that ring.
    private static func number(of line: ArraySlice<UInt8>, in ring: KeyRing) -> UInt16? {
        let words = KeyFile.words(of: line)
        return words.count == 3 && words[0].elementsEqual(ring.rawValue.utf8) ? UInt16(String(decoding: words[1], as: UTF8.self)) : nil
    }

    public var description: String { "text of a key file" }
    public var customMirror: Swift.Mirror { Swift.Mirror(self, children: [:]) }
}

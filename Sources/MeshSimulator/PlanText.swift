/// The words that plans are written in: seconds with up to three digits behind the point, and members as n1, n2 and so on.
enum PlanText {
    /// A week; more is a slip.
    private static let timeMax: Int64 = 7 * 24 * 3_600_000

    static func seconds(_ milliseconds: Int64) -> String {
        let (whole, rest) = milliseconds.quotientAndRemainder(dividingBy: 1000)
        guard rest > 0 else { return "\(whole)" }
        let digits = String(rest + 1000).dropFirst()
        return "\(whole).\(digits.prefix(digits.hasSuffix("00") ? 1 : digits.hasSuffix("0") ? 2 : 3))"
    }

    static func milliseconds(_ word: Substring) -> Int64? {
        let parts = word.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let whole = parts.first.flatMap({ Int64($0) }), (0...timeMax / 1000).contains(whole) else { return nil }
        guard parts.count == 2 else { return whole * 1000 }
        guard (1...3).contains(parts[1].count), let digits = Int64((parts[1] + "00").prefix(3)), digits >= 0 else { return nil }
        return whole * 1000 + digits
    }

    static func member(_ word: Substring) -> Int? {
        guard word.first == "n", let number = Int(word.dropFirst()), number >= 1 else { return nil }
        return number
    }

    /// Whom a fault befalls, at the front of `words`, and what stands behind: one member, or of a cut two that differ.
    static func members(
        _ words: ArraySlice<Substring>, isCut: Bool
    ) -> (member: Int, other: Int?, rest: ArraySlice<Substring>)? {
        guard let first = words.first, let member = Self.member(first) else { return nil }
        let rest = words.dropFirst()
        guard isCut else { return (member, nil, rest) }
        guard let second = rest.first, let other = Self.member(second), other != member else { return nil }
        return (member, other, rest.dropFirst())
    }
}

/// Figures of one kind.
package struct Sample {
    package private(set) var values: [Double] = []

    package init() {}

    package mutating func add(_ value: Double) { values.append(value) }
    package mutating func add(_ more: [Double]) { values += more }

    /// The least value that this share of all is not above. Infinity when there is none.
    package func percentile(_ share: Double) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return .infinity }
        let rank = (share / 100 * Double(sorted.count)).rounded(.up)
        return sorted[min(sorted.count - 1, max(0, Int(rank) - 1))]
    }

    package var largest: Double { values.max() ?? .infinity }
}

extension Double {
    /// With so many digits behind the point.
    package func fixed(_ digits: Int) -> String {
        guard isFinite, magnitude < 1e15 else { return "\(self)" }
        var factor = 1.0
        for _ in 0..<digits { factor *= 10 }
        let scaled = Int((magnitude * factor).rounded())
        let whole = scaled / Int(factor)
        let sign = self < 0 && scaled != 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(whole)" }
        let rest = String(scaled % Int(factor))
        return "\(sign)\(whole).\(String(repeating: "0", count: digits - rest.count))\(rest)"
    }
}

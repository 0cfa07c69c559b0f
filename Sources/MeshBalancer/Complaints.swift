/// Log lines about what outsiders do, at most one a second of each kind, with how many were left out. A flood of junk must not become a flood of log.
struct Complaints {
    enum Kind: Int, CaseIterable {
        case malformedRequest, malformedAnswer, instanceRefused, nobodyThere, descriptors
    }

    private let log: @Sendable (String) -> Void
    private var nextAt: [Int64]
    private var leftOut: [Int]

    init(log: @escaping @Sendable (String) -> Void) {
        self.log = log
        nextAt = Array(repeating: .min, count: Kind.allCases.count)
        leftOut = Array(repeating: 0, count: Kind.allCases.count)
    }

    mutating func complain(_ kind: Kind, at now: Int64, _ text: @autoclosure () -> String) {
        guard now >= nextAt[kind.rawValue] else {
            leftOut[kind.rawValue] += 1
            return
        }
        let more = leftOut[kind.rawValue]
        log(more == 0 ? text() : "\(text()) (and \(more) more like it)")
        nextAt[kind.rawValue] = now + 1_000_000_000
        leftOut[kind.rawValue] = 0
    }
}

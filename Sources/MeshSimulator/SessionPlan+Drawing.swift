import MeshCore

extension SessionPlan {
    /// Faults drawn from a seed, alike for simulated agents and real ones.
    /// - Parameters:
    ///   - nodes: how many there are.
    ///   - rounds: how many, with one fault each.
    ///   - kinds: which faults there are; none: no rounds.
    ///   - pairs: two faults of different agents in each round, where the first is not one that stays alone.
    public init(seed: UInt64, nodes: Int, rounds: Int, kinds: Set<Fault.Kind>, pairs: Bool = false) {
        var generator = SeededGenerator(seed: seed ^ 0x04DE_A100)
        let kinds = kinds.sorted { $0.rawValue < $1.rawValue }
        for _ in 0..<rounds {
            guard let kind = kinds.randomElement(using: &generator) else { break }
            var round = [Self.draw(kind, besides: nil, nodes, using: &generator)]
            let others = kinds.filter { $0 != .rolling && Self.mayMeet(kind, $0) }
            if pairs, nodes > 2, let other = others.randomElement(using: &generator) {
                round.append(Self.draw(other, besides: round[0].member, nodes, using: &generator))
            }
            self.rounds.append(round)
        }
    }

    /// Two that are killed at once may hold both copies of a session: nothing is promised then. One that leaves is one copy less, too.
    private static func mayMeet(_ one: Fault.Kind, _ other: Fault.Kind) -> Bool {
        let takesCopy: Set<Fault.Kind> = [.crash, .leave]
        return one != .rolling && !(takesCopy.contains(one) && takesCopy.contains(other))
    }

    private static func draw(_ kind: Fault.Kind, besides taken: Int?, _ nodes: Int, using generator: inout SeededGenerator) -> Fault {
        var member = Int.random(in: 1...nodes, using: &generator)
        if member == taken { member = member % nodes + 1 }
        let shift = Int.random(in: 1...max(1, nodes - 1), using: &generator)
        // Three of four kills come in the middle of something.
        let directive = Int.random(in: 0..<400, using: &generator)
        let isAtOnce = Int.random(in: 0..<4, using: &generator) == 0
        return Fault(
            kind, member: member, other: kind == .cut ? (member - 1 + shift) % nodes + 1 : nil,
            directive: kind == .crash && !isAtOnce ? directive : nil, at: Int64.random(in: 200...2000, using: &generator),
            length: Int64.random(in: lengths(kind), using: &generator))
    }

    /// Milliseconds.
    private static func lengths(_ kind: Fault.Kind) -> ClosedRange<Int64> {
        switch kind {
        case .crash: 1000...6000
        case .pause: 100...5000
        case .leave: 4000...8000
        case .rolling: 500...2000
        case .clock: 2000...8000
        case .cut: 100...8000
        case .split: 100...15_000
        case .sever: 7_200_000...7_300_000
        }
    }
}

// MARK: What there is to do

extension SessionPlan {
    /// One thing that whoever carries out a round does at its time.
    public struct Act: Hashable, Sendable {
        /// Milliseconds since the round began.
        public var at: Int64
        public var fault: Fault
        public var step: Step

        public enum Step: Hashable, Sendable {
            case begin
            /// Sets the agent's wall clock so many milliseconds wrong.
            case setClock(error: Int64)
            /// From here on clients stay away, or come again.
            case clients(come: Bool)
            case end
        }
    }

    /// What a round asks for, in the order of its time.
    public static func acts(of round: [Fault]) -> [Act] {
        var acts: [Act] = []
        for fault in round {
            acts.append(Act(at: fault.at, fault: fault, step: .begin))
            switch fault.kind {
            case .clock:
                acts.append(Act(at: fault.at, fault: fault, step: .setClock(error: clockStep)))
                acts.append(Act(at: fault.at + fault.length / 2, fault: fault, step: .setClock(error: -clockStep)))
                acts.append(Act(at: fault.end, fault: fault, step: .setClock(error: 0)))
            case .sever:
                acts.append(Act(at: min(fault.at + severedUse, fault.end), fault: fault, step: .clients(come: false)))
                acts.append(Act(at: max(fault.at, fault.end - severedUse), fault: fault, step: .clients(come: true)))
            case .crash, .pause, .leave, .rolling, .cut, .split: break
            }
            acts.append(Act(at: fault.end, fault: fault, step: .end))
        }
        // Sorting keeps the order of what is due at once.
        return acts.enumerated().sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
    }

    /// Milliseconds.
    private static let clockStep: Int64 = 60_000
    private static let severedUse: Int64 = 5000
}

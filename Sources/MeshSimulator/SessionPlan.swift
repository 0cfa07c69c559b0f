/// What happens to the agents of a ``SessionOrdeal``, round after round; a round begins when the mesh is whole again after the last. As text it fits
/// on a command line: `0.5:crash@17:n3:2,1:cut:n1:n2:8+2:pause:n4:1` kills n3 half a second into the first round, once it has done 17 more
/// things, and starts it again two seconds later; in the second, nothing gets from n2 to n1 for eight seconds, and meanwhile n4 stands still for one.
public struct SessionPlan: Hashable, Sendable, CustomStringConvertible {
    public var rounds: [[Fault]] = []

    public struct Fault: Hashable, Sendable {
        public enum Kind: String, Hashable, Sendable, CaseIterable {
            /// Killed, and started again empty under its name.
            case crash
            /// Off the processor.
            case pause
            /// Says goodbye, and comes back empty.
            case leave
            /// All leave and come back one after the other, beginning with this one; each when the mesh is whole again. Alone in its round.
            case rolling
            /// Its wall clock jumps a minute ahead, after half of the time to a minute behind, and then is right again.
            case clock
            /// Nothing gets from the second to the first.
            case cut
            /// Those up to it are parted from the rest.
            case split
            /// The same for so long that who was destroyed meanwhile is forgotten. Clients come only in its first and last seconds.
            case sever
        }

        public var kind: Kind
        /// Counted from 1, as in their names.
        public var member: Int
        /// Of a cut: who is not heard.
        public var other: Int?
        /// Of a crash: after how many more directives it comes, as long as the fault lasts; nil: at once.
        public var directive: Int?
        /// Milliseconds since the round began, and for how many it lasts.
        public var at: Int64
        public var length: Int64

        public init(_ kind: Kind, member: Int, other: Int? = nil, directive: Int? = nil, at: Int64, length: Int64) {
            self.kind = kind
            self.member = member
            self.other = other
            self.directive = directive
            self.at = at
            self.length = length
        }

        public var end: Int64 { at + length }

        /// Whether some can't hear others.
        public var interrupts: Bool {
            switch kind {
            case .cut, .split, .sever: true
            case .crash, .pause, .leave, .rolling, .clock: false
            }
        }
    }

    public init(rounds: [[Fault]] = []) {
        self.rounds = rounds
    }

    /// The highest number of a member that it names.
    public var membersMax: Int { rounds.joined().map { max($0.member, $0.other ?? 0) }.max() ?? 0 }

    // MARK: Text

    public var description: String {
        rounds.map { $0.map(Self.text).joined(separator: "+") }.joined(separator: ",")
    }

    private static func text(of fault: Fault) -> String {
        var words = [PlanText.seconds(fault.at), fault.kind.rawValue + (fault.directive.map { "@\($0)" } ?? ""), "n\(fault.member)"]
        if let other = fault.other { words.append("n\(other)") }
        return (words + [PlanText.seconds(fault.length)]).joined(separator: ":")
    }

    /// Nil unless it is such a text.
    public init?(_ text: String) {
        for round in text.split(separator: ",") {
            var faults: [Fault] = []
            for word in round.split(separator: "+", omittingEmptySubsequences: false) {
                guard let fault = Self.fault(word.split(separator: ":", omittingEmptySubsequences: false)) else { return nil }
                faults.append(fault)
            }
            guard faults.count == 1 || !faults.contains(where: { $0.kind == .rolling }) else { return nil }
            rounds.append(faults)
        }
    }

    /// More than an agent does in a minute.
    private static let directivesMax = 1_000_000

    private static func fault(_ words: [Substring]) -> Fault? {
        guard words.count >= 3, let at = PlanText.milliseconds(words[0]), let (kind, directive) = kind(words[1]),
            let (member, other, rest) = PlanText.members(words.dropFirst(2), isCut: kind == .cut), rest.count == 1,
            let length = rest.first.flatMap(PlanText.milliseconds)
        else { return nil }
        return Fault(kind, member: member, other: other, directive: directive, at: at, length: length)
    }

    private static func kind(_ word: Substring) -> (Fault.Kind, Int?)? {
        let parts = word.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count <= 2, let kind = Fault.Kind(rawValue: String(parts[0])) else { return nil }
        guard parts.count == 2 else { return (kind, nil) }
        guard kind == .crash, let directive = Int(parts[1]), (0...directivesMax).contains(directive) else { return nil }
        return (kind, directive)
    }
}

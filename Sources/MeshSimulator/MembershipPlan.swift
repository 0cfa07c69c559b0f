/// What happens to the members of a ``MembershipWorld``, and when. As text it fits on a command line: `1.5:crash:n3:2,4:cut:n1:n2:8` kills n3
/// after 1.5 s and starts it again 2 s later, and lets nothing through from n1 to n2 for 8 s, beginning at 4 s.
public struct MembershipPlan: Hashable, Sendable, CustomStringConvertible {
    public var faults: [Fault] = []

    public struct Fault: Hashable, Sendable {
        public enum Kind: String, Hashable, Sendable, CaseIterable {
            /// Killed, and started again with nothing but its name.
            case crash
            /// Killed for good.
            case kill
            /// Killed, and started again with its snapshot.
            case restart
            /// Killed, and started again with a clock that was set back an hour.
            case rewind
            /// Killed, and started again under its name at another address; the old one is silent.
            case move
            /// Says goodbye, and comes back.
            case leave
            /// Off the processor.
            case pause
            /// Its wall clock jumps an hour ahead, and back.
            case clock
            /// Nothing gets from the second to the first.
            case cut
            /// Nothing reaches it, though it can be heard.
            case deaf
            /// Four of five packets from it and to it are lost.
            case lossy
            /// Those up to it are parted from the rest.
            case split
        }

        public var kind: Kind
        /// Counted from 1, as in their names.
        public var member: Int
        /// Of a cut: who is not heard.
        public var other: Int?
        /// Milliseconds since the world began, and for how many it lasts.
        public var at: Int64
        public var length: Int64

        public init(_ kind: Kind, member: Int, other: Int? = nil, at: Int64, length: Int64) {
            self.kind = kind
            self.member = member
            self.other = other
            self.at = at
            self.length = length
        }

        public var end: Int64 { at + length }
    }

    public init(faults: [Fault] = []) {
        self.faults = faults
    }

    /// When the last fault is over, in milliseconds.
    public var end: Int64 { faults.map(\.end).max() ?? 0 }

    /// The highest number of a member that it names.
    public var membersMax: Int { faults.map { max($0.member, $0.other ?? 0) }.max() ?? 0 }

    // MARK: Text

    public var description: String { faults.map(Self.text).joined(separator: ",") }

    private static func text(of fault: Fault) -> String {
        var words = [PlanText.seconds(fault.at), fault.kind.rawValue, "n\(fault.member)"]
        if let other = fault.other { words.append("n\(other)") }
        if fault.kind != .kill { words.append(PlanText.seconds(fault.length)) }
        return words.joined(separator: ":")
    }

    /// Nil unless it is such a text.
    public init?(_ text: String) {
        for word in text.split(separator: ",") {
            guard let fault = Self.fault(word.split(separator: ":", omittingEmptySubsequences: false)) else { return nil }
            faults.append(fault)
        }
    }

    private static func fault(_ words: [Substring]) -> Fault? {
        guard words.count >= 3, let at = PlanText.milliseconds(words[0]), let kind = Fault.Kind(rawValue: String(words[1])),
            let (member, other, rest) = PlanText.members(words.dropFirst(2), isCut: kind == .cut)
        else { return nil }
        if kind == .kill { return rest.isEmpty ? Fault(kind, member: member, at: at, length: 0) : nil }
        guard rest.count == 1, let length = rest.first.flatMap(PlanText.milliseconds) else { return nil }
        return Fault(kind, member: member, other: other, at: at, length: length)
    }
}

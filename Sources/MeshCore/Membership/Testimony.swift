/// One member's own word on another: silent or gone, which accuses it or confirms that others did; or alive, which is a veto.
///
/// It is about one life and incarnation: a member that refutes makes all words on it void.
public struct Testimony: Hashable, Sendable {
    public enum Finding: UInt8, Hashable, Comparable, Sendable, CaseIterable {
        /// It answered.
        case alive = 0
        /// It did not answer. It may be gone, or stand still, or be cut off.
        case silent = 1
        /// Its peer port refuses connections: the process is gone, or a firewall says so.
        case refused = 2

        public static func < (lhs: Finding, rhs: Finding) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    public var subject: MemberID
    public var incarnation: UInt32
    public var witness: NodeName
    /// Rises with each word of that witness: the later one holds, in whatever order they come. 0 for one that is told at second hand.
    public var number: UInt32
    public var finding: Finding
    /// How often it was pinged for this.
    public var pings: UInt8
    /// How long before this word the witness had heard of it last, whatever it said; nil for never. In whole milliseconds.
    public var heardAgo: Duration?
    /// What a ping and its answer took the witness when last measured; nil for never. In whole microseconds.
    public var roundTrip: Duration?

    public init(
        subject: MemberID, incarnation: UInt32, witness: NodeName, number: UInt32 = 0, finding: Finding, pings: UInt8 = 0,
        heardAgo: Duration? = nil, roundTrip: Duration? = nil
    ) {
        self.subject = subject
        self.incarnation = incarnation
        self.witness = witness
        self.number = number
        self.finding = finding
        self.pings = pings
        self.heardAgo = heardAgo
        self.roundTrip = roundTrip
    }

    public var accuses: Bool { finding != .alive }
}

// MARK: Coding

extension ByteWriter {
    mutating func write(_ testimony: Testimony) {
        write(testimony.subject)
        write(testimony.incarnation)
        write(testimony.witness)
        write(testimony.number)
        write(testimony.finding.rawValue)
        write(testimony.pings)
        write(testimony.heardAgo.map { UInt32(clamping: $0.milliseconds) } ?? .max)
        write(testimony.roundTrip.map { UInt32(clamping: $0.nanoseconds / 1000) } ?? .max)
    }
}

extension ByteReader {
    mutating func readTestimony() throws(WireError) -> Testimony {
        let subject = try readMemberID()
        let incarnation = try read(UInt32.self)
        let witness = try readName()
        let number = try read(UInt32.self)
        guard let finding = Testimony.Finding(rawValue: try read()) else { throw .unknownValue }
        let pings = try read(UInt8.self)
        let heard = try read(UInt32.self)
        let roundTrip = try read(UInt32.self)
        return Testimony(
            subject: subject, incarnation: incarnation, witness: witness, number: number, finding: finding, pings: pings,
            heardAgo: heard == .max ? nil : .milliseconds(Int64(heard)),
            roundTrip: roundTrip == .max ? nil : .microseconds(Int64(roundTrip)))
    }
}

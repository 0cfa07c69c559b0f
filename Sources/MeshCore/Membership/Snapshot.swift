/// What an agent knew of the others when it last ran, as the bytes of a file: so that it finds them again when no seed leads to anybody.
///
/// Nobody in it is believed to live; it is a list of doors to knock at. It isn't sealed and has no secret: who can change it can send an
/// agent to wrong doors, and nobody opens there who doesn't hold the key.
public struct Snapshot: Hashable, Sendable {
    /// Of the mesh. Members of another are none of ours.
    public var label: String
    /// The dead and the left included.
    public var members: [Member]

    public init(label: String, members: [Member]) {
        self.label = label
        self.members = members
    }

    /// Room for all members that a view may have, with the longest of names and tags.
    public static let bytesMax = 4 << 20

    private static let magic: [UInt8] = Array("SMSN".utf8)
    private static let version: UInt8 = 1

    /// At most ``bytesMax``; of more members the first.
    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 4096)
        writer.write(raw: Self.magic)
        writer.write(Self.version)
        writer.write(text: label)
        for member in members {
            let fact = Fact.member(member)
            guard writer.count + fact.encodedBytes <= Self.bytesMax - 8 else { break }
            fact.write(to: &writer)
        }
        writer.write(Mix.hash(writer.bytes))
        return writer.bytes
    }

    /// - Throws: ``WireError``: `wrongVersion` for another program's or another version's file, otherwise one that was damaged. Memory is taken
    ///   for what is there, at most ``bytesMax``.
    public init(decoding bytes: [UInt8]) throws(WireError) {
        guard bytes.count <= Self.bytesMax else { throw .tooLarge }
        var reader = ByteReader(bytes[...].dropLast(8))
        guard bytes.count >= Self.magic.count + 1 + 8 else { throw .truncated }
        guard Array(try reader.read(raw: Self.magic.count)) == Self.magic, try reader.read(UInt8.self) == Self.version else {
            throw .wrongVersion
        }
        var tail = ByteReader(bytes.suffix(8))
        guard try tail.read(UInt64.self) == Mix.hash(bytes.dropLast(8)) else { throw .unknownValue }
        label = try reader.readText()
        members = []
        while !reader.isAtEnd {
            let tag = try reader.read(UInt8.self)
            let length = try reader.read(UInt16.self)
            // A newer agent may have kept more.
            guard case .member(let member, _) = try Fact(tag: tag, decoding: try reader.read(raw: Int(length))) else { continue }
            guard members.count < SWIM.membersMax else { throw .tooLarge }
            members.append(member)
        }
    }
}

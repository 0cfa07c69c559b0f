/// One thing that gossip says. Facts merge: told twice, late or in any order, they leave the same view.
public enum Fact: Hashable, Sendable {
    /// Everything the subject says of itself. `goneFor` is how many seconds ago it died or left, so that all forget it at about the same
    /// time; 0 for a reachable one.
    case member(Member, goneFor: UInt32 = 0)
    /// What `accuser` holds of a member that the receiver knows by other means: suspect, dead or left.
    case claim(MemberID, incarnation: UInt32, Status, accuser: NodeName)
    /// An instance as of its node's change number `version`.
    case instance(Instance, version: UInt32)
    case instanceRemoved(node: MemberID, number: UInt32, version: UInt32)
    /// A node's own word that within `span` these numbers, and no others, are its instances as of `version`. Goes in
    /// states and deltas only.
    case roster(node: MemberID, version: UInt32, span: ClosedRange<UInt32>, numbers: [UInt32])
    /// What a member found out itself about another, accusing it or objecting.
    case testimony(Testimony)
    /// The member's own word that it has lived through the death that its former life was held for.
    case survival(MemberID, of: Life)
}

// MARK: Coding

extension Fact {
    private enum Tag {
        static let member: UInt8 = 1
        static let claim: UInt8 = 2
        static let instance: UInt8 = 3
        static let instanceRemoved: UInt8 = 4
        static let roster: UInt8 = 5
        static let testimony: UInt8 = 6
        static let survival: UInt8 = 7
    }

    /// What the fact takes in a message.
    var encodedBytes: Int {
        var writer = ByteWriter(reserving: 128)
        write(to: &writer)
        return writer.count
    }

    func write(to writer: inout ByteWriter) {
        let start = writer.beginFrame()
        let tag = writeBody(to: &writer)
        writer.endFrame(from: start, tag: tag)
    }

    private func writeBody(to body: inout ByteWriter) -> UInt8 {
        let tag: UInt8
        switch self {
        case .member(let member, let goneFor):
            tag = Tag.member
            body.write(member.id)
            body.write(member.incarnation)
            body.write(member.status.rawValue)
            body.write(member.role.rawValue)
            body.write(member.stage.rawValue)
            body.write(member.weight)
            body.write(member.endpoint)
            body.write(goneFor)
            body.write(member.keys)
            body.write(member.cookieKeys)
            for (key, value) in member.tags.sorted(by: { $0.key < $1.key }) {
                body.write(text: key)
                body.write(text: value)
            }
        case .claim(let subject, let incarnation, let status, let accuser):
            tag = Tag.claim
            body.write(subject)
            body.write(incarnation)
            body.write(status.rawValue)
            body.write(accuser)
        case .instance(let instance, let version):
            tag = Tag.instance
            body.write(instance.node)
            body.write(instance.number)
            body.write(version)
            body.write(instance.weight)
            body.write(text: instance.service)
            body.write(text: instance.address)
            body.write(text: instance.cookieName)
        case .instanceRemoved(let node, let number, let version):
            tag = Tag.instanceRemoved
            body.write(node)
            body.write(number)
            body.write(version)
        case .roster(let node, let version, let span, let numbers):
            tag = Tag.roster
            body.write(node)
            body.write(version)
            body.write(span.lowerBound)
            body.write(span.upperBound)
            for number in numbers { body.write(number) }
        case .testimony(let testimony):
            tag = Tag.testimony
            body.write(testimony)
        case .survival(let id, let life):
            tag = Tag.survival
            body.write(id)
            body.write(life)
        }
        return tag
    }

    /// Nil for a kind of fact that this version doesn't know.
    init?(tag: UInt8, decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = ByteReader(bytes)
        switch tag {
        case Tag.member:
            let id = try reader.readMemberID()
            let incarnation = try reader.read(UInt32.self)
            guard let status = Status(rawValue: try reader.read()), let role = Role(rawValue: try reader.read()),
                let stage = Stage(rawValue: try reader.read())
            else { throw .unknownValue }
            let weight = try reader.read(UInt8.self)
            guard (1...16).contains(weight) else { throw .unknownValue }
            let endpoint = try reader.readEndpoint()
            let goneFor = try reader.read(UInt32.self)
            let keys = try reader.readKeyMarks(max: Member.keysMax)
            let cookieKeys = try reader.readKeyMarks(max: Member.cookieKeysMax)
            guard reader.remaining <= Member.tagsBytesMax else { throw .tooLarge }
            var tags: [String: String] = [:]
            var last: String?
            while !reader.isAtEnd {
                let key = try reader.readText()
                // One order and no key twice, so that each set of tags has exactly one form.
                if let last, last >= key { throw .unknownValue }
                tags[key] = try reader.readText()
                last = key
            }
            let member = Member(
                id: id, incarnation: incarnation, status: status, role: role, stage: stage, endpoint: endpoint, weight: weight, tags: tags,
                keys: keys, cookieKeys: cookieKeys)
            self = .member(member, goneFor: goneFor)
        case Tag.claim:
            let subject = try reader.readMemberID()
            let incarnation = try reader.read(UInt32.self)
            guard let status = Status(rawValue: try reader.read()), status != .alive else { throw .unknownValue }
            self = .claim(subject, incarnation: incarnation, status, accuser: try reader.readName())
        case Tag.instance:
            let node = try reader.readMemberID()
            let number = try reader.read(UInt32.self)
            let version = try reader.read(UInt32.self)
            let weight = try reader.read(UInt8.self)
            guard (1...100).contains(weight) else { throw .unknownValue }
            let instance = Instance(
                node: node, number: number, service: try reader.readText(), address: try reader.readText(), weight: weight,
                cookieName: try reader.readText())
            guard instance.fits else { throw .tooLarge }
            self = .instance(instance, version: version)
        case Tag.instanceRemoved:
            self = .instanceRemoved(node: try reader.readMemberID(), number: try reader.read(), version: try reader.read())
        case Tag.roster:
            let node = try reader.readMemberID()
            let version = try reader.read(UInt32.self)
            let (first, last) = (try reader.read(UInt32.self), try reader.read(UInt32.self))
            guard first <= last else { throw .unknownValue }
            guard reader.remaining <= InstanceRoll.rosterNumbersMax * 4 else { throw .tooLarge }
            var numbers: [UInt32] = []
            while !reader.isAtEnd {
                let number = try reader.read(UInt32.self)
                guard (first...last).contains(number), numbers.last.map({ $0 < number }) ?? true else { throw .unknownValue }
                numbers.append(number)
            }
            self = .roster(node: node, version: version, span: first...last, numbers: numbers)
        case Tag.testimony: self = .testimony(try reader.readTestimony())
        case Tag.survival: self = .survival(try reader.readMemberID(), of: try reader.readLife())
        default: return nil
        }
        try reader.finish()
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ keys: [KeyMark]) {
        write(UInt8(keys.count))
        for key in keys {
            write(key.number)
            write(key.check)
        }
    }
}

extension ByteReader {
    fileprivate mutating func readKeyMarks(max countMax: Int) throws(WireError) -> [KeyMark] {
        let count = Int(try read(UInt8.self))
        guard count <= countMax else { throw .tooLarge }
        guard remaining >= count * KeyMark.bytes else { throw .truncated }
        var keys: [KeyMark] = []
        for _ in 0..<count {
            let key = KeyMark(number: try read(), check: try read())
            guard !keys.contains(where: { $0.number == key.number }) else { throw .unknownValue }
            keys.append(key)
        }
        return keys
    }
}

extension Fact {
    func isDeath(of id: MemberID) -> Bool {
        switch self {
        case .member(let member, _): member.id == id && member.status == .dead
        case .claim(let subject, _, let status, _): subject == id && status == .dead
        default: false
        }
    }

    /// The incarnation that the fact says is suspect, if it is about that member.
    func accusation(of id: MemberID) -> UInt32? {
        switch self {
        case .claim(id, let incarnation, .suspect, _): incarnation
        case .testimony(let word) where word.subject == id && word.accuses: word.incarnation
        default: nil
        }
    }
}

extension Member {
    /// What the tags take when encoded; at most ``tagsBytesMax`` can be gossiped, and 255 a key or value.
    public var tagsFit: Bool {
        let isShort = tags.allSatisfy { $0.key.utf8.count <= 255 && $0.value.utf8.count <= 255 }
        return isShort && tags.reduce(0) { $0 + 2 + $1.key.utf8.count + $1.value.utf8.count } <= Self.tagsBytesMax
    }
}

extension Instance {
    /// Whether its texts and weight are within bounds.
    public var fits: Bool {
        [service, address, cookieName].allSatisfy { $0.utf8.count <= Self.textBytesMax } && (1...100).contains(weight)
    }
}

#if Redis
    import MeshCore

    /// Which master of a Redis Cluster has which of its slots, as `CLUSTER SLOTS` and redirections tell.
    ///
    /// Slots of Redis, 16384 of them, have nothing to do with the mesh's own.
    struct RedisSlotMap {
        static let count = 16384
        /// Each is a connection of every agent.
        static let mastersMax = 128

        /// In no order that means anything; a slot names its master by the index.
        private(set) var masters: [HostAndPort] = []
        private var owners = [UInt16](repeating: RedisSlotMap.nobody, count: RedisSlotMap.count)
        private static let nobody = UInt16.max

        /// Why an answer is no map.
        enum Unusable: Error, Hashable {
            case unreadable, empty, tooMany

            var error: MirrorError {
                switch self {
                case .unreadable: MirrorError(.unreachable, "redis says where its slots are in a way that can't be read")
                case .empty: MirrorError(.unreachable, "no node of this Redis Cluster has slots yet")
                case .tooMany:
                    MirrorError(.refused, "this Redis Cluster has more than \(mastersMax) masters, to which a mirror doesn't connect")
                }
            }
        }

        /// - Parameters:
        ///   - reply: to `CLUSTER SLOTS`.
        ///   - host: who answered; it stands for itself where it doesn't know its own name.
        init(_ reply: RedisReply, from host: String) throws(Unusable) {
            guard case .array(let ranges) = reply else { throw .unreadable }
            guard !ranges.isEmpty else { throw .empty }
            for range in ranges {
                guard case .array(let parts) = range, parts.count >= 3, case .integer(let first) = parts[0],
                    case .integer(let last) = parts[1],
                    case .array(let node) = parts[2], node.count >= 2, case .integer(let port) = node[1], 0 <= first, first <= last,
                    last < Self.count, let master = Self.node(node[0], port: port, from: host)
                else { throw .unreadable }
                let index = try index(of: master)
                for slot in first...last { owners[Int(slot)] = index }
            }
        }

        private static func node(_ name: RedisReply, port: Int64, from host: String) -> HostAndPort? {
            switch name {
            case .null, .bytes([]), .bytes([UInt8(ascii: "?")]): HostAndPort(announced: host, port: Int(port))
            case .bytes(let name): HostAndPort(announced: String(decoding: name, as: UTF8.self), port: Int(port))
            default: nil
            }
        }

        private mutating func index(of master: HostAndPort) throws(Unusable) -> UInt16 {
            if let index = masters.firstIndex(of: master) { return UInt16(index) }
            guard masters.count < Self.mastersMax else { throw .tooMany }
            masters.append(master)
            return UInt16(masters.count - 1)
        }

        /// Nil when nobody is known to have the slot.
        func master(of slot: Int) -> HostAndPort? {
            owners[slot] == Self.nobody ? nil : masters[Int(owners[slot])]
        }

        mutating func move(_ slot: Int, to master: HostAndPort) throws(Unusable) { owners[slot] = try index(of: master) }

        /// For each master that has slots a text whose slot is one of its own, to be put between the braces of a key.
        ///
        /// Numbers are tried from 0 on. So everybody chooses the same, and as long as its slot stays where it is, a master keeps its text. Each slot is
        /// that of a number below 109,758.
        func tags() -> [String] {
            var without = Set(owners.filter { $0 != Self.nobody })
            var tags: [String] = []
            var number = 0
            while !without.isEmpty {
                let tag = String(number)
                let owner = owners[Self.slot(of: Array(tag.utf8))]
                if without.remove(owner) != nil { tags.append(tag) }
                number += 1
            }
            return tags
        }

        /// The slot of a key: that of what stands between its first braces, if anything does, else that of all of it.
        static func slot(of key: [UInt8]) -> Int {
            var hashed = key[...]
            if let open = key.firstIndex(of: UInt8(ascii: "{")), let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")),
                close > open + 1
            {
                hashed = key[(open + 1)..<close]
            }
            let crc = hashed.reduce(UInt16(0)) { crc, byte in crc << 8 ^ crcTable[Int(crc >> 8 ^ UInt16(byte))] }
            return Int(crc) % count
        }

        /// CRC-16/XMODEM: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#appendix-a-crc16-reference-implementation-in-ansi-c
        private static let crcTable: [UInt16] = (0..<256).map { byte in
            (0..<8).reduce(UInt16(byte) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
        }
    }
#endif

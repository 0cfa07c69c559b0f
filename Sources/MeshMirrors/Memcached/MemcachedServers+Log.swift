#if Memcached
    import MeshCore

    // The log of a slot is a ring. All of it is on one server, the one that ketama gives its head:
    //
    //     sm:c:SLOT                 the head: slot, generation, and the offset of the last item
    //     sm:c:SLOT:GENERATION:N    a place of the ring: slot, generation, offset and payload of the item whose offset leaves the rest N
    //
    // Who appends first moves the head, by as many places as it needs, and then writes the items. So items of two writers never share a place,
    // and a head that was evicted or flushed is made anew with another generation, which every reader notices. What follows from it:
    //
    // - A writer may die in between. Its places are missing behind a head that has passed them: a hole. A reader waits a while at a hole, since
    //   the writer may only be slow, and then tells that something is lost.
    // - A writer may be so slow that the ring has gone all round. A place that has a later item is left alone.
    // - A place may be evicted, or its time may be up; to a reader that is a hole, too.

    /// What a reader found in a slot's log.
    struct MemcachedLogPart: Sendable {
        var tail: ChannelTail
        /// The first place that is missing, and where the log ended when it was.
        var hole: (at: ChannelMark, end: ChannelMark)?
    }

    extension MemcachedServers {
        private static let ringSize = UInt64(ChannelTail.keptMin)
        /// How long an item stays. A reader that comes later is told that it has missed something, and memory is there for sessions again.
        private static let itemSeconds: UInt32 = 3600
        /// Items that are read at once: with the largest payload as much as fits an answer.
        private static let placesMax = ChannelTail.bytesMax / ChannelItem.payloadMax

        func append(_ items: [[UInt8]], to slot: Slot) throws(MirrorError) -> ChannelMark {
            let server = try server(of: MemcachedHead.key(of: slot))
            let count = UInt64(items.count)
            var head = MemcachedHead(slot: slot, mark: .beginning)
            _ = try change([MemcachedHead.key(of: slot)], on: server) { _, item throws(MirrorError) in
                if let item {
                    guard let stored = MemcachedHead(item.value, of: slot) else { throw .foreign("the log of slot \(slot)") }
                    head = stored
                } else {
                    head.mark = ChannelMark(generation: .random(in: 1 ... .max), offset: 0)
                }
                head.mark.offset &+= count
                return .store(head.encoded, expiry: MemcachedExpiry.never)
            }
            let first = head.mark.offset &- count &+ 1
            let places = items.indices.map { MemcachedPlace(slot: slot, mark: head.mark.at(first &+ UInt64($0)), payload: items[$0]) }
            _ = try change(places.map { $0.key(in: Self.ringSize) }, on: server) { index, item throws(MirrorError) in
                if let item {
                    guard let stored = MemcachedPlace(item.value, of: slot, head.mark.generation) else {
                        throw .foreign("the log of slot \(slot)")
                    }
                    if stored.mark.offset >= places[index].mark.offset { return .keep }
                }
                return .store(places[index].encoded, expiry: Self.itemSeconds)
            }
            return head.mark
        }

        /// - Parameter given: up to there a missing item is lost.
        func read(_ slot: Slot, after mark: ChannelMark?, givingUpTo given: ChannelMark?) throws(MirrorError) -> MemcachedLogPart {
            let server = try server(of: MemcachedHead.key(of: slot))
            guard let item = try get(MemcachedHead.key(of: slot), from: server) else {
                let isLost = mark.map { $0 != .beginning } ?? false
                return MemcachedLogPart(tail: ChannelTail(items: [], mark: .beginning, isGapped: isLost))
            }
            guard let head = MemcachedHead(item.value, of: slot) else { throw .foreign("the log of slot \(slot)") }
            guard let mark else { return MemcachedLogPart(tail: ChannelTail(items: [], mark: head.mark, isGapped: false)) }
            let isOther = mark.generation != head.mark.generation
            var part = MemcachedLogPart(
                tail: ChannelTail(items: [], mark: head.mark.at(isOther ? 0 : mark.offset), isGapped: isOther && mark != .beginning))
            // Behind the end stands who has read what an older self of the store doesn't have.
            let oldest = head.mark.offset - min(head.mark.offset, Self.ringSize)
            let nearest = min(max(part.tail.mark.offset, oldest), head.mark.offset)
            if nearest != part.tail.mark.offset {
                part.tail.mark.offset = nearest
                part.tail.isGapped = true
            }
            var bytes = 0
            while part.tail.mark.offset < head.mark.offset, part.tail.items.count < ChannelTail.itemsMax {
                let last = part.tail.mark.offset + min(head.mark.offset - part.tail.mark.offset, UInt64(Self.placesMax))
                let marks = (part.tail.mark.offset + 1...last).map { head.mark.at($0) }
                let keys = marks.map { MemcachedPlace(slot: slot, mark: $0, payload: []).key(in: Self.ringSize) }
                for (mark, item) in zip(marks, try get(keys, from: server)) {
                    let place = item.flatMap { MemcachedPlace($0.value, of: slot, mark.generation) }
                    if let place, place.mark == mark {
                        bytes += place.payload.count
                        if bytes > ChannelTail.bytesMax { return part }
                        part.tail.items.append(ChannelItem(mark: mark, payload: place.payload))
                    } else if place.map({ $0.mark.offset > mark.offset }) ?? false || given.map({ $0.covers(mark) }) ?? false {
                        part.tail.isGapped = true
                    } else {
                        part.hole = (mark, head.mark)
                        return part
                    }
                    part.tail.mark = mark
                }
            }
            return part
        }

        /// A number for each log that is another when something was appended to it; none for those that can't be reached.
        func versions(of slots: [Slot]) -> [Slot: UInt64] {
            var versions: [Slot: UInt64] = [:]
            var byServer: [Int: [Slot]] = [:]
            for slot in slots {
                guard let server = try? server(of: MemcachedHead.key(of: slot)) else { continue }
                byServer[server, default: []].append(slot)
            }
            for (server, slots) in byServer {
                for start in stride(from: 0, to: slots.count, by: MemcachedConnection.keysMax) {
                    let part = slots[start..<min(slots.count, start + MemcachedConnection.keysMax)]
                    guard let items = try? get(part.map(MemcachedHead.key), from: server) else { break }
                    for (slot, item) in zip(part, items) { versions[slot] = item?.version ?? 0 }
                }
            }
            return versions
        }
    }

    private struct MemcachedHead {
        private static let magic = "SMH\u{1}"
        let slot: Slot
        /// Of the last item.
        var mark: ChannelMark

        static func key(of slot: Slot) -> String { "sm:c:\(slot)" }

        init(slot: Slot, mark: ChannelMark) {
            self.slot = slot
            self.mark = mark
        }

        init?(_ bytes: [UInt8], of slot: Slot) {
            guard var rest = MemcachedValue.opened(bytes, as: Self.magic), rest.take(2)?.number == UInt64(slot.rawValue),
                let generation = rest.take(8), rest.count == 8
            else { return nil }
            self.init(slot: slot, mark: ChannelMark(generation: generation.number, offset: rest.number))
        }

        var encoded: [UInt8] {
            var body: [UInt8] = []
            body.append(bigEndian: slot.rawValue)
            body.append(bigEndian: mark.generation)
            body.append(bigEndian: mark.offset)
            return MemcachedValue.sealed(body, as: Self.magic)
        }
    }

    private struct MemcachedPlace {
        private static let magic = "SMI\u{1}"
        let slot: Slot
        let mark: ChannelMark
        let payload: [UInt8]

        init(slot: Slot, mark: ChannelMark, payload: [UInt8]) {
            self.slot = slot
            self.mark = mark
            self.payload = payload
        }

        init?(_ bytes: [UInt8], of slot: Slot, _ generation: UInt64) {
            guard var rest = MemcachedValue.opened(bytes, as: Self.magic), rest.take(2)?.number == UInt64(slot.rawValue),
                rest.take(8)?.number == generation, let offset = rest.take(8)
            else { return nil }
            self.init(slot: slot, mark: ChannelMark(generation: generation, offset: offset.number), payload: Array(rest))
        }

        func key(in ringSize: UInt64) -> String { "sm:c:\(slot):\(mark.generation):\(mark.offset % ringSize)" }

        var encoded: [UInt8] {
            var body: [UInt8] = []
            body.append(bigEndian: slot.rawValue)
            body.append(bigEndian: mark.generation)
            body.append(bigEndian: mark.offset)
            return MemcachedValue.sealed(body + payload, as: Self.magic)
        }
    }

    extension ChannelMark {
        fileprivate func at(_ offset: UInt64) -> ChannelMark { ChannelMark(generation: generation, offset: offset) }

        /// Whether `other` stands here or before, in the same generation.
        fileprivate func covers(_ other: ChannelMark) -> Bool { generation == other.generation && other.offset <= offset }
    }
#endif

#if MongoDB
    public import MeshCore
    import Synchronization

    // How the log of a channel slot lies in MongoDB:
    //
    //     sessionmesh.logs       {_id: slot, g: generation}
    //     sessionmesh.items      {_id: slot, generation and offset in 2, 8 and 8 bytes, p: payload}
    //
    // An append inserts its items behind the last that there is; of two that try for one place, one is told that it is taken and tries behind
    // it. So an item that is there has all before it, a place is never left empty, and one write is all that an append costs.
    //
    // Items are written and read as a majority of a set has them, whatever the URI says of it: no election takes back what was read, and an
    // offset means one item for ever.
    extension MongoMirror {
        private static let logs = "sessionmesh.logs"
        static let items = "sessionmesh.items"
        /// Items and bytes of an append that are inserted at once.
        private static let partItemsMax = 256
        private static let partItemBytesMax = 4 << 20
        /// After so many items those that are too old are cut off, so that it isn't done at every append.
        private static let cutInterval: UInt64 = 1024
        @discardableResult
        public func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark {
            if let error = MirrorError(tooLongIn: items) { throw error }
            var rest = items[...]
            var mark: ChannelMark
            repeat {
                var (part, bytes) = (rest.prefix(0), 0)
                while part.count < Self.partItemsMax, bytes < Self.partItemBytesMax, part.endIndex < rest.endIndex {
                    bytes += rest[part.endIndex].count
                    part = rest.prefix(part.count + 1)
                }
                mark = try await append(part: part, to: slot)
                rest = rest.dropFirst(part.count)
            } while !rest.isEmpty
            if !items.isEmpty { try await announce(slot) }
            return mark
        }

        private func append(part: ArraySlice<[UInt8]>, to slot: Slot) async throws(MirrorError) -> ChannelMark {
            let generation = try await madeGeneration(of: slot)
            guard !part.isEmpty else { return try await end(of: slot, in: generation, ofMajority: true) }
            let known = ends.withLock { $0[slot] }
            var end: ChannelMark =
                if let known, known.generation == generation { known } else { try await self.end(of: slot, in: generation) }
            let start = end
            var rest = part
            var looksNext = false
            let until = ContinuousClock.now + configuration.commandTimeout
            repeat {
                var place = end
                let documents = rest.map { payload -> BSON in
                    place.offset &+= 1
                    return ["_id": .binary(place.key(in: slot)), "p": .binary(payload)]
                }
                let reply = try await command(
                    ["insert": .string(Self.items), "documents": .array(documents)], writes: true, ofMajority: true)
                guard let error = try writeErrors(reply, of: documents.count).first else {
                    ends.withLock { $0[slot] = place }
                    await cut(slot, from: start, to: place)
                    return place
                }
                guard error.isDuplicateKey else { throw mirrorError(error) }
                // Those before the one that failed are there.
                rest = rest.dropFirst(error.index)
                // Behind the place that is taken first, without a look: who looks each time is always later than who doesn't have to.
                if looksNext {
                    end = try await self.end(of: slot, in: generation)
                } else {
                    end.offset &+= UInt64(error.index) &+ 1
                }
                looksNext.toggle()
            } while ContinuousClock.now < until
            throw MirrorError(.timedOut, "others were first at every place in the log of slot \(slot)")
        }

        /// The generation of a slot's log, drawn now when it has none.
        private func madeGeneration(of slot: Slot) async throws(MirrorError) -> UInt64 {
            if let generation = try await generation(of: slot) { return generation }
            let drawn = Int64(bitPattern: .random(in: 1 ... .max))
            let head = try await modify(
                Self.logs, ["_id": .int32(Int32(slot.rawValue)), "g": ["$type": 18]], ["$setOnInsert": ["g": .int64(drawn)]],
                answeringNew: true, "the log of slot \(slot)")
            guard let generation = head?["g"]?.integer else { throw unreadable }
            return UInt64(bitPattern: generation)
        }

        private func generation(of slot: Slot, ofMajority: Bool = false) async throws(MirrorError) -> UInt64? {
            let heads = try await find(Self.logs, ["_id": .int32(Int32(slot.rawValue))], limit: 1, ofMajority: ofMajority)
            guard let head = heads.first else { return nil }
            guard case .int64(let generation)? = head["g"] else { throw .foreign("the log of slot \(slot)") }
            return UInt64(bitPattern: generation)
        }

        /// Where the last item of a generation stands.
        private func end(of slot: Slot, in generation: UInt64, ofMajority: Bool = false) async throws(MirrorError) -> ChannelMark {
            let start = ChannelMark(generation: generation, offset: 0)
            let ids = try await find(
                Self.items, start.onward(in: slot), limit: 1, fields: ["_id": 1], sort: ["_id": -1], ofMajority: ofMajority)
            guard let id = ids.first else { return start }
            guard let mark = ChannelMark(ofItem: id) else { throw .foreign("the log of slot \(slot)") }
            return mark
        }

        /// Takes away what is too old, and with the first items of a generation what is left of others.
        private func cut(_ slot: Slot, from start: ChannelMark, to end: ChannelMark) async {
            var ranges: [(from: ChannelMark, to: ChannelMark)] = []
            if start.offset == 0 {
                let others = (ChannelMark(generation: 0, offset: 0), ChannelMark(generation: end.generation, offset: 0))
                let later = (ChannelMark(generation: end.generation, offset: .max), ChannelMark(generation: .max, offset: .max))
                ranges = [others, later]
            } else if end.offset / Self.cutInterval != start.offset / Self.cutInterval, end.offset > ChannelTail.keptMin {
                let last = ChannelMark(generation: end.generation, offset: end.offset - UInt64(ChannelTail.keptMin))
                ranges = [(ChannelMark(generation: end.generation, offset: 0), last)]
            }
            guard !ranges.isEmpty else { return }
            let deletes = ranges.map { range -> BSON in
                ["q": ["_id": ["$gt": .binary(range.from.key(in: slot)), "$lte": .binary(range.to.key(in: slot))]], "limit": 0]
            }
            // The items are there, whatever becomes of this; the next cut takes what it has left.
            _ = try? await command(["delete": .string(Self.items), "deletes": .array(deletes)], writes: true)
        }

        public func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
            try await wakeups.tail(slot, after: mark, waiting: patience) { () async throws(MirrorError) in
                try await read(slot, after: mark)
            }
        }

        private func read(_ slot: Slot, after mark: ChannelMark?) async throws(MirrorError) -> ChannelTail {
            if let mark, mark.offset > 0 {
                let found = try await found(in: slot, from: mark)
                // With the item at the mark, unless that was cut off. As long as any of them are there, so is their generation.
                if !found.isEmpty { return ChannelTail(of: found.drop { $0.mark == mark }, after: mark) }
            }
            guard let generation = try await generation(of: slot, ofMajority: true) else {
                return ChannelTail(items: [], mark: .beginning, isGapped: mark.map { $0 != .beginning } ?? false)
            }
            guard let mark, mark.offset == 0 || mark.generation != generation else {
                // Where a mark was given, the log ends before it: an older self has come back.
                return ChannelTail(items: [], mark: try await end(of: slot, in: generation, ofMajority: true), isGapped: mark != nil)
            }
            let start = ChannelMark(generation: generation, offset: 0)
            var tail = ChannelTail(of: try await found(in: slot, from: start)[...], after: start)
            if mark != start && mark != .beginning { tail.isGapped = true }
            return tail
        }

        /// The items at a mark and behind it, as a majority has them; the one at the mark without its payload.
        private func found(in slot: Slot, from mark: ChannelMark) async throws(MirrorError) -> [ChannelItem] {
            let payload: BSON = ["$cond": [["$eq": ["$_id", .binary(mark.key(in: slot))]], .binary([]), "$p"]]
            let documents = try await find(
                Self.items, mark.onward(in: slot), limit: Int32(ChannelTail.itemsMax + 1), fields: ["p": payload], sort: ["_id": 1],
                ofMajority: true)
            let items = documents.compactMap { ChannelItem($0) }
            guard items.count == documents.count else { throw .foreign("the log of slot \(slot)") }
            return items
        }
    }

    extension ChannelTail {
        /// As many of the items that were found as fit an answer. An item comes after all before it, so what is missing was cut off or has been
        /// lost, and won't come.
        fileprivate init(of found: ArraySlice<ChannelItem>, after mark: ChannelMark) {
            self.init(items: [], mark: mark, isGapped: false)
            if let next = found.first?.mark.offset, next > mark.offset + 1 {
                isGapped = true
                self.mark.offset = next - 1
            }
            var bytes = 0
            for item in found.prefix(Self.itemsMax) {
                bytes += item.payload.count
                guard item.mark.offset == self.mark.offset + 1, bytes <= Self.bytesMax else { return }
                items.append(item)
                self.mark = item.mark
            }
        }
    }

    extension ChannelMark {
        fileprivate init?(ofItem document: BSONDocument) {
            guard let key = document["_id"]?.binary, key.count == 18 else { return nil }
            func number(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
            self.init(generation: number(key.dropFirst(2).prefix(8)), offset: number(key.suffix(8)))
        }

        /// Of an item: in the order of slots, generations and offsets.
        fileprivate func key(in slot: Slot) -> [UInt8] {
            var key: [UInt8] = []
            withUnsafeBytes(of: slot.rawValue.bigEndian) { key += $0 }
            for number in [generation, offset] { withUnsafeBytes(of: number.bigEndian) { key += $0 } }
            return key
        }

        /// A filter for the item at this mark and all behind it in its generation.
        fileprivate func onward(in slot: Slot) -> BSON {
            [
                "_id": [
                    "$gte": .binary(key(in: slot)), "$lte": .binary(ChannelMark(generation: generation, offset: .max).key(in: slot)),
                ]
            ]
        }
    }

    extension Slot {
        /// That of an item, by its key.
        init?(ofItem key: ArraySlice<UInt8>) {
            guard key.count == 18 else { return nil }
            self.init(rawValue: key.prefix(2).reduce(0) { $0 << 8 | UInt16($1) })
        }
    }

    extension ChannelItem {
        fileprivate init?(_ document: BSONDocument) {
            guard let mark = ChannelMark(ofItem: document), let payload = document["p"]?.binary, payload.count <= Self.payloadMax else {
                return nil
            }
            self.init(mark: mark, payload: Array(payload))
        }
    }
#endif

#if MongoDB
    public import MeshCore
    import NIOPosix
    import Synchronization

    // How the log of a channel slot lies in MongoDB:
    //
    //     sessionmesh.logs       {_id: slot, g: generation, o: offset of the last item}
    //     sessionmesh.items      {_id: slot, generation and offset in 2, 8 and 8 bytes, p: payload}
    //     sessionmesh.wakeups    {s: slot}    capped; followed by those who wait
    //
    // An append first takes its offsets, in one step, and then inserts its items. So a reader may find an item before one that comes
    // earlier, and then stays where it is. What a writer took offsets for and never brought is lost once nobody can be about to bring it.
    //
    // Those who wait are woken through a capped collection and not by a change stream, because it works on a server by itself too, and what
    // it says is only that somebody should look again: no token has to be kept, and nothing that is overrun in it is missed.
    extension MongoMirror {
        private static let logs = "sessionmesh.logs"
        private static let items = "sessionmesh.items"
        private static let wakeupsCollection = "sessionmesh.wakeups"
        /// Room for more than a thousand announcements; those who fall behind look at all slots again.
        private static let wakeupsBytes: Int32 = 64 << 10
        /// Items and bytes of an append that are inserted at once.
        private static let partItemsMax = 256
        private static let partItemBytesMax = 4 << 20
        /// After so many items those that are too old are cut off, so that it isn't done at every append.
        private static let cutInterval: Int64 = 1024
        private static let listenDelay = Duration.milliseconds(200)

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
            if !items.isEmpty {
                _ = try await command(
                    ["insert": .string(Self.wakeupsCollection), "documents": [["s": .int32(Int32(slot.rawValue))]]], writes: true)
            }
            return mark
        }

        private func append(part: ArraySlice<[UInt8]>, to slot: Slot) async throws(MirrorError) -> ChannelMark {
            let drawn = Int64(bitPattern: .random(in: 1 ... .max))
            let head = try await modify(
                Self.logs, ["_id": .int32(Int32(slot.rawValue)), "g": ["$type": 18], "o": ["$type": 18]],
                ["$inc": ["o": .int64(Int64(part.count))], "$setOnInsert": ["g": .int64(drawn)]], answeringNew: true,
                "the log of slot \(slot)")
            guard let end = head.flatMap(ChannelMark.init), end.offset >= part.count else { throw unreadable }
            guard !part.isEmpty else { return end }
            var place = ChannelMark(generation: end.generation, offset: end.offset - UInt64(part.count))
            let documents = part.map { payload -> BSON in
                place.offset += 1
                return ["_id": .binary(place.key(in: slot)), "p": .binary(payload)]
            }
            let reply = try await command(
                ["insert": .string(Self.items), "documents": .array(documents), "ordered": false], writes: true)
            if let error = try writeErrors(reply, of: documents.count).first {
                if error.isDuplicateKey { throw .foreign("the log of slot \(slot)") }
                throw mirrorError(error)
            }
            await cut(slot, at: end, after: part.count)
            return end
        }

        /// Takes away what is too old, and with the first items of a generation what is left of others.
        private func cut(_ slot: Slot, at end: ChannelMark, after count: Int) async {
            let (offset, before) = (Int64(bitPattern: end.offset), Int64(bitPattern: end.offset) - Int64(count))
            var ranges: [(from: ChannelMark, to: ChannelMark)] = []
            if before == 0 {
                let others = (ChannelMark(generation: 0, offset: 0), ChannelMark(generation: end.generation, offset: 0))
                let later = (ChannelMark(generation: end.generation, offset: .max), ChannelMark(generation: .max, offset: .max))
                ranges = [others, later]
            } else if offset / Self.cutInterval != before / Self.cutInterval, offset > ChannelTail.keptMin {
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
            let heads = try await find(Self.logs, ["_id": .int32(Int32(slot.rawValue))], limit: 1)
            guard let document = heads.first else {
                return ChannelTail(items: [], mark: .beginning, isGapped: mark.map { $0 != .beginning } ?? false)
            }
            guard let end = ChannelMark(document) else { throw .foreign("the log of slot \(slot)") }
            guard let mark else { return ChannelTail(items: [], mark: end, isGapped: false) }
            var from = mark
            var isGapped = false
            if mark.generation != end.generation {
                from = ChannelMark(generation: end.generation, offset: 0)
                isGapped = mark != .beginning
            } else if mark.offset > end.offset {
                return ChannelTail(items: [], mark: end, isGapped: true)
            }
            let documents = try await find(
                Self.items,
                [
                    "_id": [
                        "$gt": .binary(from.key(in: slot)),
                        "$lte": .binary(ChannelMark(generation: from.generation, offset: .max).key(in: slot)),
                    ]
                ], limit: Int32(ChannelTail.itemsMax), sort: ["_id": 1])
            var found = documents.compactMap { ChannelItem($0, in: slot) }[...]
            guard found.count == documents.count else { throw .foreign("the log of slot \(slot)") }
            let next = found.first?.mark.offset ?? end.offset + 1
            if next > from.offset + 1 {
                let isCut = end.offset > UInt64(ChannelTail.keptMin) && from.offset < end.offset - UInt64(ChannelTail.keptMin)
                // After as long as a writer has for its insert, and once more for all that is slow, nobody is about to fill a hole.
                guard isCut || holes.isOlder(slot, from, than: configuration.commandTimeout * 2) else {
                    return ChannelTail(items: [], mark: from, isGapped: isGapped)
                }
                isGapped = true
                from.offset = next - 1
            }
            holes.forget(slot)
            var (items, bytes) = ([ChannelItem](), 0)
            while let item = found.popFirst(), item.mark.offset == from.offset + 1 {
                bytes += item.payload.count
                if bytes > ChannelTail.bytesMax { break }
                items.append(item)
                from = item.mark
            }
            return ChannelTail(items: items, mark: from, isGapped: isGapped)
        }

        /// Sees to the collection that wakes those who wait. The first insert would make one that grows without end.
        func makeWakeups() async throws(MirrorError) {
            let isThere: UInt32 = 48
            _ = try await command(
                ["create": .string(Self.wakeupsCollection), "capped": true, "size": .int32(Self.wakeupsBytes)], writes: true,
                except: isThere)
            let reply = try await command(["listCollections": 1, "filter": ["name": .string(Self.wakeupsCollection)]], writes: false)
            let isCapped = reply["cursor"]?.document?["firstBatch"]?.array?.values?.first?.document?["options"]?.document?["capped"]
            if isCapped != .bool(true) {
                _ = try await command(
                    ["convertToCapped": .string(Self.wakeupsCollection), "size": .int32(Self.wakeupsBytes)], writes: true)
            }
            // A cursor ends at once where there is nothing to read.
            _ = try await command(["insert": .string(Self.wakeupsCollection), "documents": [["s": -1]]], writes: true)
        }

        /// Wakes those who wait, from the first of them on, on a thread of its own.
        func keepListening() async {
            let isStopped = Atomic(false)
            let pool = NIOThreadPool(numberOfThreads: 1)
            pool.start()
            // Well within the time after which the library takes a silent socket for a broken one.
            let patience = min(configuration.commandTimeout / 2, .seconds(1))
            await withTaskCancellationHandler {
                for await _ in wakeups.wanted() { break }
                while !Task.isCancelled {
                    if (try? await makeWakeups()) != nil {
                        _ = try? await pool.runIfActive { [connections, wakeups] in
                            wakeups.announce(nil)
                            _ = connections.follow(Self.wakeupsCollection, patience: patience) { document in
                                if let slot = document?["s"]?.integer.flatMap({ UInt16(exactly: $0) }).flatMap(Slot.init(rawValue:)) {
                                    wakeups.announce(slot)
                                }
                                return !isStopped.load(ordering: .relaxed)
                            }
                        }
                    }
                    try? await Task.sleep(for: Self.listenDelay)
                }
            } onCancel: {
                isStopped.store(true, ordering: .relaxed)
            }
            // Throws for pools that others use too; this one is ours.
            try? await pool.shutdownGracefully()
        }
    }

    /// Since when readers have stood before items that aren't there, one a slot.
    final class ChannelHoles: Sendable {
        private let holes = Mutex<[Slot: (mark: ChannelMark, since: ContinuousClock.Instant)]>([:])

        /// Notes the hole behind `mark` when it is a new one.
        func isOlder(_ slot: Slot, _ mark: ChannelMark, than age: Duration) -> Bool {
            let now = ContinuousClock.now
            return holes.withLock { holes in
                if let hole = holes[slot], hole.mark == mark { return now - hole.since > age }
                holes[slot] = (mark, now)
                return false
            }
        }

        func forget(_ slot: Slot) { holes.withLock { $0[slot] = nil } }
    }

    extension ChannelMark {
        /// The end of a log, as its head has it.
        fileprivate init?(_ head: BSONDocument) {
            guard let generation = head["g"]?.integer, let offset = head["o"]?.integer, offset >= 0 else { return nil }
            self.init(generation: UInt64(bitPattern: generation), offset: UInt64(offset))
        }

        /// Of an item: in the order of slots, generations and offsets.
        fileprivate func key(in slot: Slot) -> [UInt8] {
            var key: [UInt8] = []
            withUnsafeBytes(of: slot.rawValue.bigEndian) { key += $0 }
            for number in [generation, offset] { withUnsafeBytes(of: number.bigEndian) { key += $0 } }
            return key
        }
    }

    extension ChannelItem {
        fileprivate init?(_ document: BSONDocument, in slot: Slot) {
            guard let key = document["_id"]?.binary, key.count == 18, let payload = document["p"]?.binary,
                payload.count <= Self.payloadMax
            else { return nil }
            func number(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
            self.init(
                mark: ChannelMark(generation: number(key.dropFirst(2).prefix(8)), offset: number(key.suffix(8))), payload: Array(payload))
        }
    }
#endif

#if Redis
    public import MeshCore

    extension RedisMirror {
        public func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark {
            if let error = MirrorError(tooLongIn: items) { throw error }
            let drawn = String(UInt64.random(in: 1 ... .max))
            let reply = try await call(.append, on: slot.redisKey) { command in
                command.append(drawn.utf8)
                for item in items { command.append(item) }
            }
            guard case .array(let parts) = reply, let mark = ChannelMark(parts) else { throw .foreign("the log of slot \(slot)") }
            return mark
        }

        public func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
            try await wakeups.tail(slot, after: mark, waiting: patience) { () async throws(MirrorError) in
                try await read(slot, after: mark)
            }
        }

        private func read(_ slot: Slot, after mark: ChannelMark?) async throws(MirrorError) -> ChannelTail {
            let reply = try await call(.tail, on: slot.redisKey) { command in
                command.append((mark.map { String($0.generation) } ?? "end").utf8)
                command.append(String(mark?.offset ?? 0).utf8)
            }
            guard case .array(let parts) = reply, parts.count % 2 == 1, var place = ChannelMark(parts), case .integer(let lost) = parts[2]
            else {
                throw .foreign("the log of slot \(slot)")
            }
            var items: [ChannelItem] = []
            for index in stride(from: 3, to: parts.count, by: 2) {
                guard let offset = parts[index].number, case .bytes(let payload) = parts[index + 1] else {
                    throw .foreign("the log of slot \(slot)")
                }
                place.offset = offset
                items.append(ChannelItem(mark: place, payload: payload))
            }
            return ChannelTail(items: items, mark: place, isGapped: lost != 0)
        }
    }

    extension ChannelMark {
        /// From the first two parts of a script's answer.
        fileprivate init?(_ parts: [RedisReply]) {
            guard parts.count >= 2, let generation = parts[0].number, let offset = parts[1].number else { return nil }
            self.init(generation: generation, offset: offset)
        }
    }

    extension Slot {
        static let redisKeyPrefix = "sm:c:"

        /// Of its channels' log, and of the channel on which a new item is announced.
        fileprivate var redisKey: [UInt8] { Array("\(Self.redisKeyPrefix)\(self)".utf8) }

        init?(redisKey: [UInt8]) {
            guard let text = String(validating: redisKey, as: UTF8.self), text.hasPrefix(Self.redisKeyPrefix),
                let number = UInt16(text.dropFirst(Self.redisKeyPrefix.count))
            else { return nil }
            self.init(rawValue: number)
        }
    }
#endif

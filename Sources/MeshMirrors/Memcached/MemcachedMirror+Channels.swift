#if Memcached
    public import MeshCore
    import Synchronization

    extension MemcachedMirror {
        /// Items of one call: each costs a round trip.
        private static let itemsMax = 64
        /// How often the logs are looked at for which somebody waits, all of them at once. Less finds items sooner and costs more.
        private static let watchInterval: Duration = .milliseconds(8)
        /// For so long a log is looked at that nobody waits for any more: its reader may be back at once.
        private static let watchLinger: Duration = .seconds(1)
        /// How often it is asked whether somebody waits, once somebody has, when nobody does.
        private static let idleInterval: Duration = .milliseconds(50)

        public func append(_ items: [[UInt8]], to slot: Slot) async throws(MirrorError) -> ChannelMark {
            if let error = MirrorError(tooLongIn: items) { throw error }
            var mark = ChannelMark.beginning
            for start in stride(from: 0, to: max(1, items.count), by: Self.itemsMax) {
                let part = Array(items[start..<min(items.count, start + Self.itemsMax)])
                mark = try await call { servers throws(MirrorError) in try servers.append(part, to: slot) }
            }
            wakeups.announce(slot)
            return mark
        }

        public func tail(_ slot: Slot, after mark: ChannelMark?, waiting patience: Duration) async throws(MirrorError) -> ChannelTail {
            try await wakeups.tail(slot, after: mark, waiting: patience) { () async throws(MirrorError) in
                let given = holes.lost(in: slot, after: configuration.holeTimeout)
                let part = try await call { servers throws(MirrorError) in try servers.read(slot, after: mark, givingUpTo: given) }
                if let hole = part.hole { holes.note(slot, hole.at, end: hole.end) }
                return part.tail
            }
        }

        /// Memcached tells nobody of anything, so it is asked, for all logs at once.
        func watchLogs() async {
            struct Watch {
                var until: ContinuousClock.Instant
                var version: UInt64?
            }
            for await _ in wakeups.wanted() { break }
            var watched: [Slot: Watch] = [:]
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            while !Task.isCancelled {
                let now = ContinuousClock.now
                for slot in wakeups.waited { watched[slot, default: Watch(until: now)].until = now + Self.watchLinger }
                watched = watched.filter { $0.value.until >= now }
                guard !watched.isEmpty else {
                    try? await Task.sleep(for: Self.idleInterval)
                    continue
                }
                let slots = Array(watched.keys)
                // Who waits finds out by itself when this can't be answered.
                let versions = try? await call { servers throws(MirrorError) in servers.versions(of: slots) }
                for (slot, version) in versions ?? [:] where watched[slot]?.version != version {
                    watched[slot]?.version = version
                    wakeups.announce(slot)
                }
                // A reader that stands before a hole must look again though nothing is appended.
                for slot in holes.slots(since: now - configuration.holeTimeout * 2) { wakeups.announce(slot) }
                try? await Task.sleep(for: generator.jittered(Self.watchInterval, share: 0.5))
            }
        }
    }

    /// Since when places of logs have been found missing.
    final class MemcachedHoles: Sendable {
        private struct Hole {
            let slot: Slot
            let at: ChannelMark
            let end: ChannelMark
            let since: ContinuousClock.Instant
        }

        /// More than that can't be waited for at a time. The oldest is forgotten, and waited for anew should it still be there.
        private static let countMax = 256
        private static let memory: Duration = .seconds(10)

        private let holes = Mutex<[Hole]>([])

        /// Those in which a hole was first found after a moment.
        func slots(since moment: ContinuousClock.Instant) -> Set<Slot> {
            holes.withLock { Set($0.filter { $0.since > moment }.map(\.slot)) }
        }

        func note(_ slot: Slot, _ at: ChannelMark, end: ChannelMark) {
            holes.withLock { holes in
                let now = ContinuousClock.now
                holes.removeAll { now - $0.since > Self.memory }
                guard !holes.contains(where: { $0.slot == slot && $0.at == at }) else { return }
                if holes.count >= Self.countMax { holes.removeFirst() }
                holes.append(Hole(slot: slot, at: at, end: end, since: now))
            }
        }

        /// Up to where what is missing in a log has been missing for so long that it is lost.
        func lost(in slot: Slot, after timeout: Duration) -> ChannelMark? {
            holes.withLock { holes in
                let now = ContinuousClock.now
                holes.removeAll { now - $0.since > Self.memory }
                return holes.filter { $0.slot == slot && now - $0.since >= timeout }.max { $0.since < $1.since }?.end
            }
        }
    }
#endif

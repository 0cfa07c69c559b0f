import MeshCore
import Synchronization

/// Who waits for items in the logs of channel slots, until the store announces some.
///
/// What is announced says nothing but "look again": an announcement may be lost with the connection that brings them, so whoever waits looks again
/// after a while in any case.
final class Wakeups: Sendable {
    private struct State {
        /// How often each slot was announced, and how often all of them.
        var announced: [Slot: UInt64] = [:]
        var renewed: UInt64 = 0
        /// One a call that waits.
        var waiting: [UInt64: (slot: Slot, continuation: CheckedContinuation<Void, Never>)] = [:]
        var last: UInt64 = 0
        /// Somebody has waited.
        var isWanted = false
        var want: AsyncStream<Void>.Continuation?
    }

    private let state = Mutex(State())

    /// Yields once somebody waits: until then no connection for announcements is needed. For one at a time, who runs the mirror.
    func wanted() -> AsyncStream<Void> {
        let (stream, want) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let isWanted = state.withLock { state in
            state.want = want
            return state.isWanted
        }
        if isWanted { want.yield() }
        return stream
    }

    /// After so long whoever waits looks again, should an announcement have been lost.
    private static let patience = Duration.seconds(1)

    /// Reads until there is something, or `patience` is over.
    func tail(
        _ slot: Slot, after mark: ChannelMark?, waiting patience: Duration, _ read: () async throws(MirrorError) -> ChannelTail
    ) async throws(MirrorError) -> ChannelTail {
        let end = ContinuousClock.now + patience
        while true {
            // Counted before it is read, so that no item falls between.
            let seen = count(of: slot)
            let tail = try await read()
            let left = end - .now
            if mark == nil || !tail.items.isEmpty || tail.isGapped || left <= .zero || Task.isCancelled { return tail }
            await wait(for: slot, after: seen, atMost: min(left, Self.patience))
        }
    }

    /// The slots for which somebody waits.
    var waited: Set<Slot> { state.withLock { Set($0.waiting.values.map(\.slot)) } }

    private func count(of slot: Slot) -> UInt64 { state.withLock { ($0.announced[slot] ?? 0) &+ $0.renewed } }

    /// There may be new items of a slot; nil stands for all.
    func announce(_ slot: Slot?) {
        let woken = state.withLock { state in
            if let slot { state.announced[slot, default: 0] &+= 1 } else { state.renewed &+= 1 }
            let woken = state.waiting.filter { slot == nil || $0.value.slot == slot }
            for number in woken.keys { state.waiting[number] = nil }
            return woken.values.map(\.continuation)
        }
        for continuation in woken { continuation.resume() }
    }

    /// Returns when the slot is announced, or was since `seen` was counted; at the latest after `patience`.
    private func wait(for slot: Slot, after seen: UInt64, atMost patience: Duration) async {
        let want = state.withLock { state in
            state.isWanted = true
            return state.want
        }
        want?.yield()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.next(slot, after: seen) }
            group.addTask { try? await Task.sleep(for: patience) }
            await group.next()
            group.cancelAll()
        }
    }

    private func next(_ slot: Slot, after seen: UInt64) async {
        let number = state.withLock { state in
            state.last += 1
            return state.last
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isAnnounced = state.withLock { state in
                    guard (state.announced[slot] ?? 0) &+ state.renewed == seen, !Task.isCancelled else { return true }
                    state.waiting[number] = (slot, continuation)
                    return false
                }
                if isAnnounced { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number)?.continuation }?.resume()
        }
    }
}

import Dispatch
import Foundation
import Synchronization

/// Lines on their way to a descriptor, written by a thread that may wait: a process whose log is read slowly, or not at all, must not stand
/// still, or the others would hold it for dead.
///
/// When ``bytesMax`` bytes or ``linesMax`` lines wait, more are dropped; how many is said as soon as there is room.
final class LogStream: TextOutputStream, Sendable {
    static let standardError = LogStream(to: STDERR_FILENO)

    /// Some seconds of a chatty log; what is read at all is read sooner.
    static let bytesMax = 1 << 20
    /// What so many short ones take beside their bytes is as much at most.
    static let linesMax = 16 * 1024

    private struct State {
        var waiting: [String] = []
        var bytes = 0
        var dropped = 0
        var isWriting = false
    }

    private let descriptor: CInt
    private let notice: @Sendable (Int) -> String
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "sessionmesh.log")

    /// - Parameter notice: the line that says how many were dropped.
    init(
        to descriptor: CInt,
        notice: @escaping @Sendable (Int) -> String = { "sessionmesh: \($0) lines of the log were dropped, because nobody read it\n" }
    ) {
        self.descriptor = descriptor
        self.notice = notice
    }

    func write(_ line: String) {
        let length = line.utf8.count
        let isFirst = state.withLock { state in
            guard state.waiting.count < Self.linesMax, state.bytes + length <= Self.bytesMax else {
                state.dropped += 1
                return false
            }
            state.waiting.append(line)
            state.bytes += length
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if isFirst { queue.async { while let text = self.take() { Output.write(text, to: self.descriptor) } } }
    }

    private func take() -> String? {
        state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.isWriting = false
                return nil
            }
            var text = state.waiting.joined()
            if state.dropped > 0 { text += notice(state.dropped) }
            state.waiting = []
            state.bytes = 0
            state.dropped = 0
            return text
        }
    }

    /// Before the process ends: waits for what is under way, unless nobody reads it.
    func flush() {
        let done = DispatchSemaphore(value: 0)
        queue.async { done.signal() }
        _ = done.wait(timeout: .now() + 1)
    }
}

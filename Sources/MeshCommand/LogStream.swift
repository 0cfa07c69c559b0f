import Dispatch
import Foundation
import Synchronization

/// A log's lines on their way to a descriptor, written by a thread that may wait: an agent whose log is read slowly, or not at all, must not stand
/// still, or the others would hold it for dead.
///
/// When ``linesMax`` lines wait, more are dropped; how many is said as soon as there is room.
final class LogStream: TextOutputStream, Sendable {
    static let standardError = LogStream(to: STDERR_FILENO)
    /// For what other processes print.
    static let standardOutput = LogStream(to: STDOUT_FILENO)

    /// About 200 KB.
    static let linesMax = 1024

    private struct State {
        var waiting: [String] = []
        var dropped = 0
        var isWriting = false
    }

    private let descriptor: CInt
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "sessionmesh.log")

    init(to descriptor: CInt) { self.descriptor = descriptor }

    func write(_ line: String) {
        let isFirst = state.withLock { state in
            guard state.waiting.count < Self.linesMax else {
                state.dropped += 1
                return false
            }
            state.waiting.append(line)
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
            if state.dropped > 0 { text += "sessionmesh: \(state.dropped) lines of the log were dropped, because nobody read it\n" }
            state.waiting = []
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

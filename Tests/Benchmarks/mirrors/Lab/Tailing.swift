import AgentTools
import Foundation
import LabTools
import MeshCore
import MeshMirrors
import Synchronization

/// Two processes with nothing between them but a store: one appends to the log of a channel slot, the other tails it.
struct Tailing {
    let store: StoreKind

    static let rate = 200
    private static let seconds = 10
    private static let patience = Duration.seconds(60)

    private var goal: Double {
        switch store {
        case .redis: 2
        case .mongodb: 5
        case .memcached: 10
        }
    }

    func run(with toolbox: Toolbox) throws -> [Figure] {
        let server = try Store(store, in: "\(toolbox.directory)/store")
        defer { server.kill() }
        let own = try Toolbox.beside("mirror-lab")
        let count = Self.rate * Self.seconds
        let loop = Loop()
        var isTailing = false
        var lines: [String] = []
        let tail = try Child([own, TailProcess.tailing, server.place.uri(), "\(count)"])
        defer { tail.end() }
        loop.add(
            LineSource(tail, \.output) { line in
                if line.elementsEqual(TailProcess.ready.utf8) {
                    isTailing = true
                } else {
                    lines.append(String(decoding: line, as: UTF8.self))
                }
            })
        loop.add(LineSource(tail, \.errors) { Say.progress(String(decoding: $0, as: UTF8.self)) })
        let deadline = loop.now + Self.patience
        func wait(for what: String, _ isSo: () -> Bool) throws {
            while !isSo() {
                guard loop.now < deadline else { throw LabFailure("waited \(Self.patience) for \(what)") }
                try loop.turn(.milliseconds(10))
            }
        }
        try wait(for: "a process that tails") { isTailing || tail.output.isAtEnd }
        let append = try Child([own, TailProcess.appending, server.place.uri(), "\(count)"])
        defer { append.end() }
        var appended: [String] = []
        loop.add(LineSource(append, \.output) { appended.append(String(decoding: $0, as: UTF8.self)) })
        loop.add(LineSource(append, \.errors) { Say.progress(String(decoding: $0, as: UTF8.self)) })
        try wait(for: "the last item") { tail.output.isAtEnd && append.output.isAtEnd }

        let seen = Self.numbers(lines)
        let sent = Self.numbers(appended)
        guard let items = seen["items"], let gaps = seen["gaps"], let twice = seen["twice"], let failures = sent["failures"] else {
            throw LabFailure("a process did not say what it has seen")
        }
        return [
            Figure("append to seen, p50", seen["p50"], "ms", goal: .atMost(goal)),
            Figure("append to seen, p99", seen["p99"], "ms"),
            Figure("an append, p50", sent["p50"], "ms"),
            Figure("items, \(Self.rate) a second", count),
            Figure("appends that failed", failures, goal: .atMost(0)),
            Figure("items neither seen nor told as a gap", gaps > 0 ? 0 : Double(count) - items, goal: .atMost(0)),
            Figure("gaps told", gaps),
            Figure("items seen twice", twice, goal: .atMost(0)),
        ]
    }

    /// Lines of a name and a number.
    private static func numbers(_ lines: [String]) -> [String: Double] {
        var numbers: [String: Double] = [:]
        for line in lines {
            let words = line.split(separator: " ")
            if words.count == 2, let value = Double(words[1]) { numbers[String(words[0])] = value }
        }
        return numbers
    }
}

/// What the lab does when it was started by itself for ``Tailing``.
enum TailProcess {
    static let tailing = "tail-items"
    static let appending = "append-items"
    static let ready = "tailing"

    private static let slot = Slot(masking: 17)
    /// How long the store may take to be reached, and the last item to come.
    private static let patience = Duration.seconds(10)

    /// Whether these words were for it.
    static func run(_ words: [String]) throws -> Bool {
        guard words.count == 3, [tailing, appending].contains(words[0]), let count = Int(words[2]) else { return false }
        let mirror = try StoreReader.mirror(words[1])
        let isAppending = words[0] == appending
        let outcome = Mutex<[String]?>(nil)
        let isOver = DispatchSemaphore(value: 0)
        Task {
            let running = Task { await mirror.run() }
            let lines = isAppending ? await append(count, to: mirror) : await tail(count, of: mirror)
            outcome.withLock { $0 = lines }
            running.cancel()
            isOver.signal()
        }
        isOver.wait()
        for line in outcome.withLock({ $0 }) ?? [] { Say.result(line) }
        return true
    }

    private static func append(_ count: Int, to mirror: any MeshCore.Mirror) async -> [String] {
        // The first call waits for the connection.
        _ = try? await mirror.tail(slot, after: nil, waiting: .zero)
        var waits = Sample()
        var failures = 0
        let start = ContinuousClock.now
        for number in 0..<count {
            try? await Task.sleep(until: start + .seconds(1) / Tailing.rate * number, clock: .continuous)
            let sentAt = nanoseconds()
            do {
                try await mirror.append([bytes(UInt64(number)) + bytes(sentAt)], to: slot)
            } catch {
                failures += 1
                Say.progress("an append failed: \(error)")
            }
            waits.add(Double(nanoseconds() - sentAt) / 1e6)
        }
        return ["failures \(failures)", "p50 \(waits.percentile(50).fixed(3))", "p99 \(waits.percentile(99).fixed(3))"]
    }

    private static func tail(_ count: Int, of mirror: any MeshCore.Mirror) async -> [String] {
        var mark: ChannelMark?
        let opened = ContinuousClock.now + patience
        while mark == nil, ContinuousClock.now < opened { mark = try? await mirror.tail(slot, after: nil, waiting: .zero).mark }
        guard var mark else { return [] }
        Say.result(ready)
        var seen = [Bool](repeating: false, count: count)
        var waits = Sample()
        var gaps = 0
        var twice = 0
        var deadline = ContinuousClock.now + patience
        while !(seen.last ?? true), ContinuousClock.now < deadline {
            guard let tail = try? await mirror.tail(slot, after: mark, waiting: .seconds(1)) else { continue }
            let now = nanoseconds()
            mark = tail.mark
            if tail.isGapped { gaps += 1 }
            for item in tail.items {
                guard item.payload.count == 16, case let number = Int(number(item.payload[..<8])), number < count else { continue }
                if seen[number] { twice += 1 }
                seen[number] = true
                waits.add(Double(now - self.number(item.payload[8...])) / 1e6)
                deadline = ContinuousClock.now + patience
            }
        }
        return [
            "items \(seen.count { $0 })", "gaps \(gaps)", "twice \(twice)", "p50 \(waits.percentile(50).fixed(3))",
            "p99 \(waits.percentile(99).fixed(3))",
        ]
    }

    /// Of the clock that all processes of a machine share.
    private static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}

import LabTools
import Logging
import MeshCore
import MeshMirrors
import Synchronization

/// Reads sessions out of a store as an agent would, through a mirror of its own, while the lab's thread does other things.
final class StoreReader: Sendable {
    enum Answer: Sendable {
        case record(MirrorRecord)
        case none
        /// Not answered.
        case failed
    }

    private let mirror: any MeshCore.Mirror
    private let running: Task<Void, Never>
    private let answers = Mutex<[Answer]?>(nil)

    /// Loads under way at once.
    private static let width = 32

    init(_ uri: String) throws {
        mirror = try Self.mirror(uri)
        running = Task { [mirror] in await mirror.run() }
    }

    deinit { running.cancel() }

    static func mirror(_ uri: String) throws -> any MeshCore.Mirror {
        let logger = Logger(label: "mirror-lab") { _ in SwiftLogNoOpLogHandler() }
        do { return try MirrorURI(uri).makeMirror(logger: logger) } catch { throw LabFailure("\(error)") }
    }

    /// Begins to read; ``take()`` has what came of it. One reading at a time.
    func begin(_ keys: [SessionKey]) {
        Task {
            var read = [Answer](repeating: .failed, count: keys.count)
            await withTaskGroup(of: (Int, Answer).self) { group in
                var next = 0
                func addNext() {
                    guard next < keys.count else { return }
                    group.addTask { [next] in (next, await self.load(keys[next])) }
                    next += 1
                }
                for _ in 0..<Self.width { addNext() }
                for await (index, answer) in group {
                    read[index] = answer
                    addNext()
                }
            }
            let all = read
            answers.withLock { $0 = all }
        }
    }

    private func load(_ key: SessionKey) async -> Answer {
        do {
            guard let record = try await mirror.load(key) else { return .none }
            return record.key == key ? .record(record) : .failed
        } catch {
            return .failed
        }
    }

    /// What the reading found, in the order of its keys; nil while it goes on.
    func take() -> [Answer]? {
        answers.withLock { answers in
            defer { answers = nil }
            return answers
        }
    }
}

extension MirrorRecord {
    /// The registers that applications have set. Docs/PROTOCOL.md has the form of their entries.
    var registers: [String: [UInt8]] {
        var registers: [String: [UInt8]] = [:]
        for entry in entries where entry.name.first == UInt8(ascii: "r") && entry.payload.first == 1 {
            let name = String(decoding: entry.name.dropFirst(), as: UTF8.self)
            if !name.hasPrefix("@") { registers[name] = Array(entry.payload.dropFirst()) }
        }
        return registers
    }
}

extension SessionSnapshot {
    var registers: [String: [UInt8]] {
        var registers: [String: [UInt8]] = [:]
        for field in fields { if case .bytes(let bytes) = field.value { registers[field.name] = bytes } }
        return registers
    }
}

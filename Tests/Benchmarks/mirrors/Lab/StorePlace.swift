import Glibc
import LabTools

/// The software of a store.
enum StoreKind: String, CaseIterable {
    case redis, memcached, mongodb
}

/// Where a store is, and what the lab asks it beside all mirrors. Each question has a connection of its own, and an answer within a second.
struct StorePlace: Sendable {
    let kind: StoreKind
    let port: UInt16

    /// For `--mirror`, of the store or of whoever stands before it.
    func uri(port: UInt16? = nil) -> String { "\(kind.rawValue)://127.0.0.1:\(port ?? self.port)" }

    var answers: Bool {
        guard let talk = try? StoreTalk(port: port) else { return false }
        switch kind {
        case .redis: return (try? talk.line("PING")) == "+PONG"
        case .memcached: return (try? talk.line("version"))?.hasPrefix("VERSION") ?? false
        case .mongodb: return (try? talk.mongo([("ping", .number(1))], database: "admin")) != nil
        }
    }

    /// Everything goes.
    func flush() throws {
        let talk = try StoreTalk(port: port)
        switch kind {
        case .redis: try talk.expect(talk.line("FLUSHALL SYNC"), "+OK")
        case .memcached: try talk.expect(talk.line("flush_all"), "OK")
        case .mongodb: _ = try talk.mongo([("dropDatabase", .number(1))], database: Self.database)
        }
    }

    /// Sessions, and a few entries that are none.
    func count(over talk: StoreTalk) throws -> Int {
        switch kind {
        case .redis: return Int(try talk.line("DBSIZE").dropFirst()) ?? 0
        case .memcached: return try talk.text("stats", until: "END\r\n").number(behind: "STAT curr_items ") ?? 0
        case .mongodb: return try talk.mongo([("count", .text("sessionmesh.sessions"))], database: Self.database).bsonNumber(of: "n") ?? 0
        }
    }

    /// How often Redis has run scripts: one a merge, and one a visit.
    func scriptsRun() throws -> Int {
        let text = try StoreTalk(port: port).text("INFO commandstats", until: "\r\n\r\n")
        return (text.number(behind: "cmdstat_evalsha:calls=") ?? 0) + (text.number(behind: "cmdstat_eval:calls=") ?? 0)
    }

    private static let database = "sessionmesh"
}

/// A blocking connection to a store.
final class StoreTalk {
    private let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var patience = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard Loopback.connect(descriptor, to: port) else {
            close(descriptor)
            throw LabFailure("nobody answers on port \(port)")
        }
    }

    deinit { close(descriptor) }

    /// The first line of the answer to a command.
    func line(_ command: String) throws -> String {
        let answer = try text(command, until: "\r\n")
        return String(answer.prefix { !$0.isNewline })
    }

    func text(_ command: String, until end: String) throws -> String {
        try send(Array("\(command)\r\n".utf8))
        var answer: [UInt8] = []
        while !answer.suffix(end.utf8.count).elementsEqual(end.utf8) { answer += try receive() }
        return String(decoding: answer, as: UTF8.self)
    }

    func expect(_ answer: String, _ wanted: String) throws {
        guard answer == wanted else { throw LabFailure("the store answered \(answer)") }
    }

    enum Value {
        case number(Int32)
        case text(String)
    }

    /// The document that answers a command.
    /// - Throws: when it isn't there within a second, or is an error.
    func mongo(_ command: [(String, Value)], database: String) throws -> [UInt8] {
        var fields: [UInt8] = []
        for (name, value) in command + [("$db", .text(database))] {
            switch value {
            case .number(let number): fields += [0x10] + Array(name.utf8) + [0] + number.littleBytes
            case .text(let text):
                fields += [0x02] + Array(name.utf8) + [0] + Int32(text.utf8.count + 1).littleBytes + Array(text.utf8) + [0]
            }
        }
        let document = Int32(fields.count + 5).littleBytes + fields + [0]
        // Length, id, what it answers, OP_MSG; no flags, one document.
        let head = Int32(16 + 5 + document.count).littleBytes + Int32(1).littleBytes + Int32(0).littleBytes + Int32(2013).littleBytes
        try send(head + [0, 0, 0, 0, 0] + document)
        var answer: [UInt8] = []
        while answer.count < 4 || answer.count < answer.littleNumber(at: 0) { answer += try receive() }
        guard answer.bsonNumber(of: "ok") == 1 else { throw LabFailure("mongod refused \(command.first?.0 ?? "")") }
        return answer
    }

    private func send(_ bytes: [UInt8]) throws {
        guard Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { throw LabFailure("a store hung up") }
    }

    private func receive() throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { throw LabFailure("a store did not answer") }
        return Array(buffer[..<count])
    }
}

extension Int32 {
    fileprivate var littleBytes: [UInt8] { withUnsafeBytes(of: littleEndian) { Array($0) } }
}

extension [UInt8] {
    fileprivate func littleNumber(at index: Int) -> Int {
        guard index + 4 <= count else { return 0 }
        return Int(Int32(truncatingIfNeeded: self[index..<index + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }))
    }

    /// Of the first field of that name: an int32, or a double that is a small whole number.
    fileprivate func bsonNumber(of name: String) -> Int? {
        for (type, bytes) in [(UInt8(0x10), 4), (UInt8(0x01), 8)] {
            let mark = [type] + Array(name.utf8) + [0]
            guard count >= mark.count + bytes else { continue }
            for start in 0...(count - mark.count - bytes) where self[start..<start + mark.count].elementsEqual(mark) {
                let place = start + mark.count
                if bytes == 4 { return littleNumber(at: place) }
                let bits = self[place..<place + 8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                return Int(exactly: Double(bitPattern: bits))
            }
        }
        return nil
    }
}

extension String {
    fileprivate func number(behind word: String) -> Int? {
        guard let place = firstRange(of: word) else { return nil }
        return Int(self[place.upperBound...].prefix(while: \.isNumber))
    }
}

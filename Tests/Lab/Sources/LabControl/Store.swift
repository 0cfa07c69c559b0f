import Foundation

/// The store behind the agents, harmed by what it understands itself.
public struct Store: Sendable {
    public enum Kind: String, Sendable { case redis, memcached, mongodb }

    public let kind: Kind
    /// Its host is its service.
    public var service: String { kind.rawValue }

    /// - Parameter uri: as agents are told it; empty for none.
    init?(uri: String) throws {
        guard !uri.isEmpty else { return nil }
        guard let scheme = uri.split(separator: ":").first, let kind = Kind(rawValue: String(scheme)) else {
            throw Broken(description: "no store of the lab: \(uri)")
        }
        self.kind = kind
    }

    /// Empties it while it runs.
    public func flush() throws {
        switch kind {
        case .redis: try say(Array("FLUSHALL\r\n".utf8), port: 6379, hoping: "+OK")
        case .memcached: try say(Array("flush_all\r\n".utf8), port: 11211, hoping: "OK")
        case .mongodb: try say(Self.dropDatabase("sessionmesh"), port: 27017, hoping: "ok")
        }
    }

    private func say(_ bytes: [UInt8], port: Int, hoping: String) throws {
        do {
            let stream = try Stream(.tcp(host: service, port: port), seconds: 5)
            try stream.send(bytes)
            let answer = String(decoding: try stream.receive(), as: UTF8.self)
            guard answer.contains(hoping) else { throw Broken(description: "\(service) says \(answer)") }
        } catch let silence as Stream.Silence { throw Broken(description: "\(service): \(silence.reason)") }
    }

    /// One OP_MSG with the command `dropDatabase`; https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
    static func dropDatabase(_ database: String) -> [UInt8] {
        func number(_ value: Int) -> [UInt8] { withUnsafeBytes(of: Int32(value).littleEndian) { Array($0) } }
        func name(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }
        let fields = [0x10] + name("dropDatabase") + number(1) + [0x02] + name("$db") + number(database.utf8.count + 1) + name(database)
        let document = number(fields.count + 5) + fields + [0]
        let message = number(0) + [0] + document
        return number(message.count + 16) + number(1) + number(0) + number(2013) + message
    }
}

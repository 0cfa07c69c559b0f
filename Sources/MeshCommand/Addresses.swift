import ArgumentParser
import CMeshSystem
import Foundation
import MeshAgent
import MeshCore

/// The values of flags, read so that the parser says what is wrong with them.
enum Values {
    @Sendable static func endpoint(_ text: String) throws -> Endpoint { try Endpoint(parsing: text) }
    @Sendable static func seed(_ text: String) throws -> SeedAddress { try SeedAddress(parsing: text) }

    /// What is looked up once, at the start.
    @Sendable static func advertised(_ text: String) throws -> String {
        if Endpoint(text: text) != nil { return text }
        guard case .host = try SeedAddress(parsing: text) else { throw ValidationError("write HOST:PORT, as others dial it") }
        return text
    }

    @Sendable static func listenAddress(_ text: String) throws -> ListenAddress { try ListenAddress(parsing: text) }
    /// What can't be a name is the command line's mistake; one that is merely too long is the configuration's, and found later.
    @Sendable static func nodeName(_ text: String) throws -> String {
        _ = try NodeName(text.prefix(NodeName.bytesMax))
        return text
    }

    @Sendable static func tag(_ text: String) throws -> Tag {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw ValidationError("write a tag as name=value, such as zone=a")
        }
        return Tag(name: String(text[..<equals]), value: String(text[text.index(after: equals)...]))
    }

    struct Tag: Hashable, Sendable {
        var name: String
        var value: String
    }

    /// `90`, `90s`, `1500ms`, `30m` or `12h`.
    @Sendable static func duration(_ text: String) throws -> Duration {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let units: [Substring: Int64] = ["ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000]
        guard let number = Int64(digits), let unit = units[text.dropFirst(digits.count)], number <= 1_000_000_000 else {
            throw ValidationError("write a time as 90s, 30m or 12h")
        }
        return .milliseconds(number * unit)
    }

    /// `512MiB`, `2GiB`, or `1000000`, which is bytes.
    @Sendable static func byteCount(_ text: String) throws -> Int {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let units: [Substring: Int] = ["": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30]
        guard let number = Int(digits), let unit = units[text.dropFirst(digits.count)], number <= 1 << 30 else {
            throw ValidationError("write an amount of memory such as 512MiB or 2GiB")
        }
        return number * unit
    }
}

enum Addresses {
    /// Where an agent is looked for, and listens, when nobody says otherwise.
    static let gossip = "127.0.0.1:7946"

    /// Each address of `texts`, names resolved. Blocks while it asks the name server.
    /// - Throws: a configuration's failure, as nobody can be found by an address that isn't one.
    static func resolve(_ texts: [String], flag: String) throws -> [Endpoint] {
        try texts.map { text in
            do { return try Endpoint.resolving(text) } catch { throw CommandFailure.configuration("\(flag): \(error)") }
        }
    }

    /// - Throws: a configuration's failure when somebody listens there: a balancer's loops share their port with each other, and would
    ///   silently share it with another balancer of this user.
    static func checkFree(_ endpoint: Endpoint, flag: String) throws {
        guard endpoint.port != 0 else { return }
        var address = mesh_address()
        address.length = UInt8(endpoint.address.count)
        address.port = endpoint.port
        withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: endpoint.address) }
        let result = mesh_probe(&address)
        guard result != 0 else { return }
        throw CommandFailure.configuration(
            result == -EADDRINUSE
                ? "\(endpoint) is in use: stop the process that listens there, or choose another \(flag)"
                : "\(endpoint) can't be listened on (\(String(cString: strerror(-result)))): choose another \(flag)")
    }
}

extension ListenAddress {
    /// Nil for a Unix socket.
    var port: UInt16? {
        if case .tcp(let endpoint) = self { endpoint.port } else { nil }
    }
}

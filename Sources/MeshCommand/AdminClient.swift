import Foundation
import MeshAgent
import MeshCore

/// Asks an admin listener, as an operator would with curl.
struct AdminClient: Sendable {
    let address: ListenAddress
    var service = Service.member

    /// Whose listener it is.
    enum Service {
        /// An agent, or a balancer.
        case member
        /// `sessionmesh run`, on its control listener.
        case supervisor
    }

    struct Answer: Sendable {
        var status: Int
        var body: Data

        /// What stands behind the status line and the headers.
        init?(_ bytes: Data) {
            guard let end = bytes.range(of: Data("\r\n\r\n".utf8)) else { return nil }
            let words = String(decoding: bytes.prefix(64), as: UTF8.self).split(separator: " ", maxSplits: 2)
            guard words.count == 3, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { return nil }
            self.status = status
            body = Data(bytes[end.upperBound...])
        }
    }

    /// Larger than the view of a mesh of 4096 members.
    private static let answerBytesMax = 16 << 20

    /// Nil when nobody answers there within `timeout`, which counts anew for each piece of the answer.
    func ask(_ method: String, _ path: String, timeout: Int = 5) async -> Answer? {
        await withCheckedContinuation { continuation in
            // It blocks for at most the socket's timeout, so not on a thread of the pool.
            DispatchQueue.global().async {
                let request = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                continuation.resume(returning: exchange(request, timeout: timeout).flatMap(Answer.init))
            }
        }
    }

    private func exchange(_ request: String, timeout: Int) -> Data? {
        guard let name = socketName else { return nil }
        let descriptor = socket(CInt(name.family), CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard Self.connect(descriptor, to: name.bytes) == 0, write(descriptor, request, request.utf8.count) == request.utf8.count else {
            return nil
        }
        var answer = Data()
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while answer.count < Self.answerBytesMax {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            answer.append(contentsOf: buffer[..<count])
        }
        return answer
    }

    private static func connect(_ descriptor: CInt, to name: [UInt8]) -> CInt {
        name.withUnsafeBytes { bytes in
            bytes.baseAddress.map { Foundation.connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count)) }
                ?? -1
        }
    }

    /// Whether somebody listens there, be it that it stands still.
    var isListenedOn: Bool {
        guard let name = socketName else { return false }
        let flags = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(CInt(name.family), flags, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return Self.connect(descriptor, to: name.bytes) == 0 || errno == EAGAIN
    }

    /// The address as `connect` takes it; nil for a path that no socket can have.
    private var socketName: (family: sa_family_t, bytes: [UInt8])? {
        switch address {
        case .unix(let path):
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            guard path.utf8.count < MemoryLayout.size(ofValue: name.sun_path) else { return nil }
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
            return (name.sun_family, withUnsafeBytes(of: name) { Array($0) })
        case .tcp(let endpoint) where endpoint.address.count == 4:
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = endpoint.port.bigEndian
            withUnsafeMutableBytes(of: &name.sin_addr) { $0.copyBytes(from: endpoint.address) }
            return (name.sin_family, withUnsafeBytes(of: name) { Array($0) })
        case .tcp(let endpoint):
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = endpoint.port.bigEndian
            withUnsafeMutableBytes(of: &name.sin6_addr) { $0.copyBytes(from: endpoint.address) }
            return (name.sin6_family, withUnsafeBytes(of: name) { Array($0) })
        }
    }
}

extension AdminClient {
    /// The listener that is named, or the one of the only such process of this user that runs here.
    /// - Parameter flag: by which it can be named; nil for the one that is usual for the service.
    static func find(_ address: ListenAddress?, of service: Service = .member, flag: String? = nil) throws -> AdminClient {
        let flag = flag ?? service.flag
        if let address { return AdminClient(address: address, service: service) }
        let all = service.sockets(in: try RunDirectory.open())
        // One that was killed leaves its socket behind.
        let live = all.filter { AdminClient(address: .unix($0)).isListenedOn }
        let sockets = live.isEmpty ? all : live
        guard let socket = sockets.first else {
            throw CommandFailure.configuration(
                "no \(service.noun) of this user runs here: start one with `\(service.command)`, or say \(flag)")
        }
        guard sockets.count == 1 else {
            let choices = sockets.map { "unix:\($0)" }.joined(separator: " or ")
            throw CommandFailure.configuration("several \(service.plural) run here: say \(flag) \(choices)")
        }
        return AdminClient(address: .unix(socket), service: service)
    }

    /// The body of a good answer.
    /// - Throws: one line: nobody is there, or what is said against it.
    func demand(_ path: String, method: String = "GET") async throws -> Data {
        guard let answer = await ask(method, path) else {
            throw CommandFailure.configuration(
                "no \(service.noun) answers on \(address): start one with `\(service.command)`, or say \(service.flag) with its listener")
        }
        guard answer.status < 300 else {
            struct Refusal: Decodable { var error: String }
            let reason = (try? JSONDecoder().decode(Refusal.self, from: answer.body))?.error
            throw CommandFailure.failed(
                reason ?? "\(address) answers with status \(answer.status): is it the listener of a \(service.noun)?")
        }
        return answer.body
    }

    static func decode<Answer: Decodable>(_: Answer.Type, from body: Data) throws -> Answer {
        do { return try JSONDecoder().decode(Answer.self, from: body) } catch {
            throw CommandFailure.failed("the answer can't be read: it may come from another version than this command")
        }
    }
}

extension AdminClient.Service {
    fileprivate var noun: String {
        switch self {
        case .member: "member"
        case .supervisor: "supervisor"
        }
    }

    fileprivate var plural: String { noun + "s" }

    fileprivate var command: String {
        switch self {
        case .member: "sessionmesh agent"
        case .supervisor: "sessionmesh run"
        }
    }

    fileprivate var flag: String {
        switch self {
        case .member: "--admin"
        case .supervisor: "--control"
        }
    }

    /// Whether there is one of this user.
    func runs(in directory: RunDirectory) -> Bool {
        sockets(in: directory).contains { AdminClient(address: .unix($0)).isListenedOn }
    }

    fileprivate func sockets(in directory: RunDirectory) -> [String] {
        switch self {
        case .member: directory.adminSockets
        case .supervisor: directory.supervisorSockets
        }
    }
}

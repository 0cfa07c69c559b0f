import Foundation
import MeshAgent

/// Asks an agent's admin socket, as an operator would with curl.
enum AdminProbe {
    private struct Health: Decodable {
        var stage: String
        var underReplicatedSlots: Int
    }

    private struct Members: Decodable {
        struct Member: Decodable { var status: String }
        var members: [Member]
    }

    /// Whether this agent serves, sees `count` members, all of them alive, and every slot it answers for has its second copy.
    static func isSettled(_ socket: String, members count: Int) async -> Bool {
        guard let health = await get("/healthz", Health.self, from: socket), health.stage == "serving", health.underReplicatedSlots == 0,
            let members = await get("/v1/members", Members.self, from: socket)?.members
        else { return false }
        return members.count == count && members.allSatisfy { $0.status == "alive" }
    }

    private static func get<Answer: Decodable & Sendable>(_ path: String, _: Answer.Type, from socket: String) async -> Answer? {
        await withCheckedContinuation { continuation in
            // It blocks for at most the socket's timeout, so not on a thread of the pool.
            DispatchQueue.global().async {
                let body = exchange("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", with: socket)
                continuation.resume(returning: body.flatMap { try? JSONDecoder().decode(Answer.self, from: $0) })
            }
        }
    }

    /// What stands behind the blank line of the answer.
    private static func exchange(_ request: String, with path: String) -> Data? {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var timeout = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let isConnected = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        guard isConnected, write(descriptor, request, request.utf8.count) == request.utf8.count else { return nil }
        var answer = Data()
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.count < 1 << 20 {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            answer.append(contentsOf: buffer[..<count])
        }
        return answer.range(of: Data("\r\n\r\n".utf8)).map { Data(answer[$0.upperBound...]) }
    }
}

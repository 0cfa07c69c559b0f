import Foundation

/// Answers whatever comes with the same bytes, as programs do that were never meant to be asked.
final class ParrotServer: Sendable {
    let port: UInt16
    private let listener: Int32

    /// Runs `body` with a parrot that is gone afterwards.
    /// - Parameter closes: whether it closes the connection behind its answer.
    static func with(_ answer: [UInt8], closes: Bool = true, _ body: (ParrotServer) async throws -> Void) async throws {
        let parrot = try ParrotServer(answer, closes: closes)
        defer { shutdown(parrot.listener, Int32(SHUT_RDWR)) }
        try await body(parrot)
    }

    private init(_ answer: [UInt8], closes: Bool) throws {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = self.listener
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 16) == 0 ? getsockname(listener, $0, &length) : -1
            }
        }
        guard result == 0 else { throw ServerFailure(description: "no port to listen on: errno \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread {
            var kept: [Int32] = []
            while case let connection = accept(listener, nil, nil), connection >= 0 {
                var buffer = [UInt8](repeating: 0, count: 65536)
                _ = read(connection, &buffer, buffer.count)
                _ = send(connection, answer, answer.count, Int32(MSG_NOSIGNAL))
                if closes { close(connection) } else { kept.append(connection) }
            }
            for connection in kept { close(connection) }
            close(listener)
        }
    }
}

import Glibc
import LabTools

/// The connection that an application holds to its agent.
final class Application {
    private let descriptor: Int32

    init(socket path: String, address: String) throws {
        descriptor = try UnixSocket.connect(path)
        send(["HELLO", "3"])
        send(["INSTANCE.REGISTER", "lab", address, "1", "sid"])
    }

    deinit { close(descriptor) }

    /// Its heartbeat. Answers are read so that they don't pile up.
    func ping() {
        send(["PING"])
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            while recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT)) > 0 {}
        }
    }

    private func send(_ words: [String]) {
        let text = "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        let bytes = Array(text.utf8)
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    }
}

/// Where datagrams of nobody in particular come from.
struct DatagramSocket {
    private let descriptor: Int32

    init() { descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0) }

    func close() { Glibc.close(descriptor) }

    func send(_ bytes: some Collection<UInt8>, to host: String, port: UInt16 = 7946) {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        let bytes = Array(bytes)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT), $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

import Foundation
import Glibc
import Synchronization

/// Hears everything that passes over loopback from and to some ports, as anybody on a real network could.
final class Eavesdropper: Sendable {
    private struct Heard {
        var bytes: [UInt16: [UInt8]] = [:]
        var isOver = false
    }

    private let heard: Mutex<Heard>

    /// `sockaddr_ll` of packet(7), which Glibc's module leaves out.
    private struct LinkAddress {
        let family = UInt16(AF_PACKET)
        let protocols: UInt16
        let interface: Int32
        let rest: (UInt64, UInt32) = (0, 0)

        static let bytes: socklen_t = 20

        init(protocols: UInt16, interface: Int32) {
            self.protocols = protocols
            self.interface = interface
        }
    }

    /// Nil for who may not: it takes CAP_NET_RAW.
    init?(ports: Set<UInt16>) {
        // ETH_P_ALL.
        let everything = UInt16(3).bigEndian
        let descriptor = socket(AF_PACKET, Int32(SOCK_DGRAM.rawValue), Int32(everything))
        guard descriptor >= 0 else { return nil }
        var address = LinkAddress(protocols: everything, interface: Int32(if_nametoindex("lo")))
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, LinkAddress.bytes) == 0 }
        }
        var patience = timeval(tv_sec: 0, tv_usec: 100_000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var room: Int32 = 64 << 20
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, socklen_t(MemoryLayout<Int32>.size))
        heard = Mutex(Heard(bytes: Dictionary(uniqueKeysWithValues: ports.map { ($0, []) })))
        guard isBound else {
            close(descriptor)
            return nil
        }
        Thread.detachNewThread { self.listen(descriptor) }
    }

    private func listen(_ descriptor: Int32) {
        defer { close(descriptor) }
        var packet = [UInt8](repeating: 0, count: 1 << 17)
        while !heard.withLock({ $0.isOver }) {
            let count = recv(descriptor, &packet, packet.count, 0)
            guard count > 0, let (ports, payload) = Self.parse(packet[..<count]) else { continue }
            heard.withLock { heard in
                for port in ports where heard.bytes[port] != nil { heard.bytes[port]?.append(contentsOf: payload) }
            }
        }
    }

    /// The ports and what is behind the headers of a UDP or TCP packet of IPv4.
    private static func parse(_ packet: ArraySlice<UInt8>) -> (Set<UInt16>, ArraySlice<UInt8>)? {
        guard packet.count > 20, packet[0] >> 4 == 4 else { return nil }
        let transport = Int(packet[0] & 15) * 4
        guard packet.count >= transport + 20 || packet[9] == UInt8(IPPROTO_UDP) && packet.count >= transport + 8 else { return nil }
        let ports = [0, 2].map { UInt16(packet[transport + $0]) << 8 | UInt16(packet[transport + $0 + 1]) }
        let start =
            switch Int(packet[9]) {
            case Int(IPPROTO_TCP): transport + Int(packet[transport + 12] >> 4) * 4
            case Int(IPPROTO_UDP): transport + 8
            default: packet.count
            }
        return start <= packet.count ? (Set(ports), packet[start...]) : nil
    }

    /// What was heard so far at a port.
    subscript(port: UInt16) -> [UInt8] { heard.withLock { $0.bytes[port] ?? [] } }

    func stop() { heard.withLock { $0.isOver = true } }
}

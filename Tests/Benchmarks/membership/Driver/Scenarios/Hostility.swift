import Glibc
import LabTools

extension Run {
    /// Packets of the mesh, recorded on their way and sent again: as they were, cut, with a bit flipped, to who had sent them, and to a receiver that
    /// has restarted since; and members of a wrong key and a wrong label.
    func hostile() throws {
        var taken: [String: Int] = [:]
        var sent = 0
        var changes = 0
        var strangers = 0
        defer {
            report("hostile packets sent", .count, Double(sent))
            for way in Tampering.allCases { report("\(way.rawValue), not refused", .count, goal: 0, Double(taken[way.rawValue] ?? sent)) }
            report("changes seen meanwhile", .count, goal: 0, Double(changes))
            report("strangers let in", .count, goal: 0, Double(strangers))
        }
        try withMesh { mesh in
            let victim = try mesh.victim(0, of: size)
            let others = mesh.survivors(of: [victim])
            say("recording for 5 s")
            let recorder = try PacketRecorder(to: victim.plan.host)
            let end = Instant.now + .seconds(5)
            while .now < end {
                recorder.read()
                try mesh.run(for: .milliseconds(20))
            }
            let recorded = Array(recorder.packets.prefix(200))
            guard recorded.count >= 10 else { throw LabFailure("only \(recorded.count) packets were seen on their way") }

            let sender = try PacketSender()
            for way in Tampering.allCases {
                var targets = way == .reflected ? others : [victim]
                if way == .afterRestart {
                    // Under its own address, so that only what it has lost can tell an old packet from a new one.
                    victim.mayEnd = true
                    victim.signal(SIGKILL)
                    try mesh.wait(.seconds(5), for: "its end") { !victim.child.isRunning }
                    targets = [try mesh.start(Self.number(of: victim))]
                    try mesh.whole()
                    try mesh.run(for: .seconds(3))
                }
                // What members drop of each other in quiet is not ours to count.
                let quiet = try refused(mesh, by: targets) {}
                mesh.mark()
                let refused = try refused(mesh, by: targets) {
                    for (index, packet) in recorded.enumerated() {
                        let (source, target) = way == .reflected ? (recorder.target, packet.source) : (packet.source, recorder.target)
                        sender.send(way.apply(to: packet.payload, index), from: source, to: target)
                        if index % 20 == 19 { try mesh.run(for: .milliseconds(10)) }
                    }
                }
                sent += recorded.count
                changes += mesh.sightings.count
                taken[way.rawValue] = max(0, recorded.count - (refused - quiet))
                say("\(way.rawValue): \(recorded.count) sent, \(refused) refused, \(mesh.sightings.count) changes")
            }

            for (number, isKey) in [(60, true), (61, false)] {
                mesh.mark()
                try mesh.startStranger(number, withAnotherKey: isKey)
                try mesh.run(for: .seconds(4))
                strangers += mesh.sightings.count { $0.subject == "n\(number)" && $0.observer < size }
            }
            rounds = 1
        }
    }

    /// How many packets members refused while `body` ran and half a second after.
    private func refused(_ mesh: Mesh, by nodes: [Node], while body: () throws -> Void) throws -> Int {
        func count() -> Int {
            nodes.reduce(0) { sum, node in
                mesh.metrics(of: node).reduce(sum) { $1.key.hasPrefix("sessionmesh_packets_dropped_total") ? $0 + $1.value : $0 }
            }
        }
        let before = count()
        try body()
        try mesh.run(for: .milliseconds(500))
        return count() - before
    }
}

/// What is done to a recorded packet.
private enum Tampering: String, CaseIterable {
    case replayed, cut, flipped = "a bit flipped", reflected, afterRestart = "replayed after a restart"

    func apply(to packet: [UInt8], _ index: Int) -> [UInt8] {
        switch self {
        case .replayed, .reflected, .afterRestart: return packet
        case .cut: return Array(packet.dropLast(1 + index % max(1, packet.count - 1)))
        case .flipped:
            var packet = packet
            packet[(index * 31) % packet.count] ^= 1 << (index % 8)
            return packet
        }
    }
}

/// Sees the UDP packets of the lab's namespace that go to one host.
final class PacketRecorder {
    private(set) var packets: [(source: sockaddr_in, payload: [UInt8])] = []
    private let descriptor: Int32
    /// The host that is listened for, as the source of a packet that goes back.
    let target: sockaddr_in

    private static let packetsMax = 1000
    private static let etherTypeIPv4: UInt16 = 0x0800

    init(to host: String) throws {
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = UInt16(7946).bigEndian
        inet_pton(AF_INET, host, &target.sin_addr)
        self.target = target
        descriptor = socket(
            AF_PACKET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue),
            Int32(Self.etherTypeIPv4.bigEndian))
        guard descriptor >= 0 else { throw LabFailure("packets can't be recorded: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    func read() {
        var buffer = [UInt8](repeating: 0, count: 2048)
        while packets.count < Self.packetsMax {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            take(buffer[..<count])
        }
    }

    /// IPv4 (RFC 791) with UDP (RFC 768) in it. On loopback each packet is seen twice, going and coming.
    private func take(_ packet: ArraySlice<UInt8>) {
        guard packet.count >= 28, packet[0] >> 4 == 4, packet[9] == UInt8(IPPROTO_UDP) else { return }
        let header = Int(packet[0] & 15) * 4
        guard packet.count > header + 8 else { return }
        let (source, receiver) = packet.withUnsafeBytes { raw in
            (raw.loadUnaligned(fromByteOffset: 12, as: UInt32.self), raw.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        }
        let payload = Array(packet[(header + 8)...])
        guard receiver == target.sin_addr.s_addr, packets.last?.payload != payload else { return }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = (UInt16(packet[header]) << 8 | UInt16(packet[header + 1])).bigEndian
        address.sin_addr.s_addr = source
        packets.append((address, payload))
    }
}

/// Sends UDP packets from whatever address they are to come from.
final class PacketSender {
    private let descriptor: Int32

    init() throws {
        // With this protocol the kernel takes the whole packet from us, its header too, and fills in the checksum of the header (raw(7)).
        descriptor = socket(AF_INET, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), Int32(IPPROTO_RAW))
        guard descriptor >= 0 else { throw LabFailure("packets can't be forged: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    func send(_ payload: [UInt8], from source: sockaddr_in, to target: sockaddr_in) {
        let packet = Self.packet(payload, from: source, to: target)
        var target = target
        _ = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, packet, packet.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private static func packet(_ payload: [UInt8], from source: sockaddr_in, to target: sockaddr_in) -> [UInt8] {
        func bytes(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
        let length = UInt16(8 + payload.count)
        var packet: [UInt8] = [0x45, 0] + bytes(20 + length) + [0, 0, 0, 0, 64, UInt8(IPPROTO_UDP), 0, 0]
        for address in [source.sin_addr.s_addr, target.sin_addr.s_addr] { packet += withUnsafeBytes(of: address) { Array($0) } }
        // A UDP checksum of 0 means none, which IPv4 allows.
        return packet + bytes(UInt16(bigEndian: source.sin_port)) + bytes(UInt16(bigEndian: target.sin_port)) + bytes(length) + [0, 0]
            + payload
    }
}

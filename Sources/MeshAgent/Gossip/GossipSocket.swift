internal import CMeshSystem
import MeshCore
import MeshLoop

/// The UDP side of an agent. Whatever comes in or fails to go out, it goes on receiving.
final class GossipSocket: LoopSource {
    private let driver: AgentDriver
    private let local: Endpoint

    /// Whether the last turn ended at its limit rather than at an empty socket, so that an answer may still wait in there.
    private(set) var mayHoldMore = false

    /// The largest datagram looked at. The mesh sends 1200 bytes at most; more than an Ethernet frame is not from a member.
    static let datagramBytesMax = 1500
    /// Read in one turn of the loop, so that a flood can't keep timers and links waiting.
    private static let datagramsPerTurn = 64
    /// Room for a burst while the loop is busy; the kernel caps it.
    private static let receiveBufferBytes: Int32 = 1 << 20

    init(driver: AgentDriver, socket: BoundSocket, local: Endpoint) {
        self.driver = driver
        self.local = local
        super.init(descriptor: socket.descriptor)
    }

    /// False when the kernel refuses the socket.
    func open() -> Bool {
        mesh_set_receive_buffer(descriptor, Self.receiveBufferBytes)
        return driver.loop.register(self, Poll.readable)
    }

    /// At once: it is for the kernel to keep what can't leave yet.
    func send(_ packet: [UInt8], to endpoint: Endpoint) {
        guard endpoint.port != 0, var address = endpoint.systemAddress(fromSocketBoundTo: local) else {
            return driver.note(.datagramUnaddressable, "a packet for \(endpoint) can't be sent from \(local)")
        }
        guard isRegistered else { return }
        let sent = packet.withUnsafeBytes { mesh_send_to(descriptor, $0.baseAddress, $0.count, &address) }
        guard sent < 0 else { return }
        if mesh_says_again(sent) {
            driver.note(.datagramUnsent, "gossip is sent faster than the network takes it; packets are dropped")
        } else {
            failed(sent)
        }
    }

    func close() {
        if isRegistered { driver.loop.close(self) }
    }

    override func proceed() {
        guard let memory = driver.loop.scratch.baseAddress else { return }
        var sender = mesh_address()
        for _ in 0..<Self.datagramsPerTurn {
            guard isRegistered else { return }
            let count = mesh_recv_from(descriptor, memory, Self.datagramBytesMax, &sender)
            if count >= 0 {
                received(UnsafeRawBufferPointer(start: memory, count: count), from: sender)
            } else if mesh_says_again(count) {
                mayHoldMore = false
                return
            } else {
                failed(count)
            }
        }
        mayHoldMore = true
    }

    private func received(_ datagram: UnsafeRawBufferPointer, from sender: mesh_address) {
        guard datagram.count <= Self.datagramBytesMax, let endpoint = Endpoint(sender) else {
            return driver.note(.datagramTooLong, "a datagram of more than \(Self.datagramBytesMax) bytes came in and was dropped")
        }
        driver.feed(.datagram(Array(datagram), from: endpoint))
    }

    private func failed(_ result: Int) {
        driver.note(.gossipSocketFailed, "a gossip packet could not be sent or received: \(SystemError(number: Int32(clamping: -result)))")
    }
}

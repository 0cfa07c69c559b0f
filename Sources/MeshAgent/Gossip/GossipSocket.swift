import MeshCore
import NIOCore
import NIOPosix

/// The UDP side of an agent. Whatever comes in or fails to go out, it goes on receiving.
///
/// NIO closes a datagram channel at most errors of a send, such as a network that is unreachable for a moment. The socket itself is fine,
/// so it is kept apart from the channel: a channel that closed is replaced by another on the same socket, and nothing that the
/// kernel received meanwhile is lost.
final class GossipSocket {
    private let driver: AgentDriver
    private let socket: BoundSocket
    private let local: Endpoint
    private var channel: (any Channel)?
    private var isClosed = false
    private var isUnflushed = false
    private var receivedInCycle = 0

    /// The largest datagram looked at. The mesh sends 1200 bytes at most; more than an Ethernet frame is not from a member.
    static let datagramBytesMax = 1500
    /// Read in one turn of the loop, so that a flood can't keep timers and links waiting.
    private static let datagramsPerCycle = 64
    /// Room for a burst while the loop is busy; the kernel caps it.
    private static let receiveBufferBytes = 1 << 20
    private static let reopenDelay = TimeAmount.milliseconds(100)

    init(driver: AgentDriver, socket: BoundSocket, local: Endpoint) {
        self.driver = driver
        self.socket = socket
        self.local = local
    }

    /// Whether the last turn ended at its limit rather than at an empty socket, so that an answer may still wait in there.
    var mayHoldMore: Bool { receivedInCycle >= Self.datagramsPerCycle }

    func open() -> EventLoopFuture<Void> {
        guard let descriptor = socket.duplicate() else {
            return driver.loop.makeFailedFuture(IOError(errnoCode: EMFILE, reason: "fcntl"))
        }
        let bound = NIOLoopBound(self, eventLoop: driver.loop)
        return DatagramBootstrap(group: driver.loop)
            .channelOption(.maxMessagesPerRead, value: UInt(Self.datagramsPerCycle))
            .channelOption(.socketOption(.so_rcvbuf), value: Self.receiveBufferBytes)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(socket: bound.value))
                }
            }
            .withBoundSocket(descriptor)
            .map { channel in
                let socket = bound.value
                if socket.isClosed { channel.close(promise: nil) } else { socket.channel = channel }
            }
    }

    func send(_ packet: [UInt8], to endpoint: Endpoint) {
        guard endpoint.port != 0, let address = endpoint.socketAddress(fromSocketBoundTo: local) else {
            return driver.note(.datagramUnaddressable, "a packet for \(endpoint) can't be sent from \(local)")
        }
        guard let channel, channel.isWritable else {
            return driver.note(.datagramUnsent, "gossip is sent faster than the network takes it; packets are dropped")
        }
        channel.write(AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: packet)), promise: nil)
        guard !isUnflushed else { return }
        isUnflushed = true
        driver.willFlush(self)
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        flush()
        channel?.close(promise: nil)
        channel = nil
        socket.close()
    }

    fileprivate func received(_ envelope: AddressedEnvelope<ByteBuffer>) {
        receivedInCycle += 1
        guard envelope.data.readableBytes <= Self.datagramBytesMax, let sender = Endpoint(envelope.remoteAddress) else {
            return driver.note(.datagramTooLong, "a datagram of more than \(Self.datagramBytesMax) bytes came in and was dropped")
        }
        driver.feed(.datagram(Array(envelope.data.readableBytesView), from: sender))
    }

    fileprivate func cycleBegan() { receivedInCycle = 0 }

    fileprivate func failed(_ error: any Error) {
        driver.note(.gossipSocketFailed, "a gossip packet could not be sent or received: \(error)")
    }

    fileprivate func channelClosed() {
        channel = nil
        guard !isClosed else { return }
        reopen()
    }

    private func reopen() {
        open().assumeIsolated().whenFailure { error in
            self.failed(error)
            guard !self.isClosed else { return }
            self.driver.loop.assumeIsolated().scheduleTask(in: Self.reopenDelay) {
                if !self.isClosed, self.channel == nil { self.reopen() }
            }
        }
    }
}

extension GossipSocket: Flushing {
    func flush() {
        isUnflushed = false
        channel?.flush()
    }
}

private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let socket: GossipSocket
    private var isInCycle = false

    init(socket: GossipSocket) {
        self.socket = socket
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if !isInCycle {
            isInCycle = true
            socket.cycleBegan()
        }
        socket.received(unwrapInboundIn(data))
    }

    func channelReadComplete(context: ChannelHandlerContext) { isInCycle = false }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { socket.failed(error) }
    func channelInactive(context: ChannelHandlerContext) { socket.channelClosed() }
}

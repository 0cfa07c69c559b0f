import MeshCore
import NIOCore

/// One TCP connection to another agent, from the first byte to the last. The protocol is ``MeshCore/PeerLinkMachine``'s.
///
/// Messages are gathered until the loop's turn ends, and then sealed and written as one frame: a commit's delta, its ack and what else there is
/// to say in a turn cost one seal and one write.
final class PeerLinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Origin {
        case dialled(Endpoint)
        /// From this IP address.
        case accepted([UInt8])
    }

    private enum State {
        /// Can transition to proving, closed.
        case connecting
        /// Hellos and proofs travel. Can transition to proven, closed.
        case proving(deadline: Scheduled<Void>)
        /// Can transition to closed.
        case proven(LinkID)
        case closed
    }

    let origin: Origin
    private let links: PeerLinks
    private let driver: AgentDriver
    private var machine: PeerLinkMachine
    private var state = State.connecting
    private var context: ChannelHandlerContext?
    private var isUnflushed = false
    /// What the core is told when the link closes unproven. A peer that hangs up on our hello has not taken our key; a connection that
    /// breaks says nothing.
    private var failure = ConnectFailure.rejected

    init(machine: PeerLinkMachine, origin: Origin, links: PeerLinks, driver: AgentDriver) {
        self.machine = machine
        self.origin = origin
        self.links = links
        self.driver = driver
    }

    /// What the link was proven with; nil before.
    var key: GossipKey? { machine.key }

    func send(_ message: [UInt8]) {
        guard case .proven = state, let context else { return }
        // Below its mark the channel holds too little to matter, and to ask how much costs more than the rest of this.
        let pending = context.channel.isWritable ? 0 : (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        guard pending + message.count <= links.pendingBytesMax else {
            driver.note(.linkOverflow, "a peer takes messages too slowly; its link was closed and will be made anew")
            return close()
        }
        do throws(PeerLinkMachine.Failure) {
            if let full = try machine.gather(message) {
                write(full)
                context.flush()
            }
            willFlush()
        } catch {
            driver.note(.linkOverflow, "a message of \(message.count) bytes can't be sent over a peer link (\(error)); the link was closed")
            close()
        }
    }

    func close() {
        flush()
        context?.close(promise: nil)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        links.opened(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        // A dial that came to nothing never was active; its failure is told by whoever dialled.
        if case .connecting = state { links.gaveUpConnecting(self) }
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        let deadline = context.eventLoop.assumeIsolated().scheduleTask(in: PeerLinks.handshakeTimeout) { self.handshakeTimedOut() }
        state = .proving(deadline: deadline)
        perform(machine.start())
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        do throws(PeerLinkMachine.Failure) {
            perform(try machine.receive(bytes))
        } catch {
            driver.note(.linkRejected, "a peer link was closed: \(error)")
            close()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        switch state {
        case .connecting, .closed: break
        case .proving(let deadline):
            deadline.cancel()
            links.gaveUp(self, failure)
        case .proven(let link): links.closed(link)
        }
        state = .closed
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .proving = state { failure = .silent }
        context.close(promise: nil)
    }

    private func handshakeTimedOut() {
        guard case .proving = state else { return }
        driver.note(.linkHandshakeTimeout, "a peer link was not proven in time and was closed")
        failure = .silent
        close()
    }

    private func perform(_ events: [PeerLinkMachine.Event]) {
        for event in events {
            switch event {
            case .send(let bytes):
                write(bytes)
                willFlush()
            case .established(let peer, let endpoint):
                guard case .proving(let deadline) = state else { return }
                deadline.cancel()
                let link = links.prove(self)
                // First, since the core may have something to send as soon as it hears of the link.
                state = .proven(link)
                links.announce(link, of: self, peer: peer, endpoint: endpoint)
            case .message(let message):
                guard case .proven(let link) = state else { return }
                links.received(message, over: link)
            }
        }
    }

    private func write(_ bytes: [UInt8]) {
        guard let context else { return }
        context.write(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    private func willFlush() {
        guard !isUnflushed else { return }
        isUnflushed = true
        driver.willFlush(self)
    }
}

extension PeerLinkHandler: Flushing {
    func flush() {
        isUnflushed = false
        // Nothing is gathered before there is a key to seal it.
        if let frame = try? machine.seal() { write(frame) }
        context?.flush()
    }
}

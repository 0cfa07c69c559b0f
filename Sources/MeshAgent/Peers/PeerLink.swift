internal import CMeshSystem
import MeshCore
import MeshLoop

/// One TCP connection to another agent, from the first byte to the last. The protocol is ``MeshCore/PeerLinkMachine``'s.
///
/// Messages are gathered until the loop's turn ends, and then sealed and written as one frame: a commit's delta, its ack and what else there is
/// to say in a turn cost one seal and one write.
final class PeerLink: LoopSource {
    enum Origin {
        case dialled(Endpoint)
        /// From this IP address.
        case accepted([UInt8])
    }

    private enum State {
        /// Can transition to proving, closed.
        case connecting(deadline: LoopTimer?)
        /// Hellos and proofs travel. Can transition to proven, closed.
        case proving(deadline: LoopTimer)
        /// Can transition to closed.
        case proven(LinkID)
        case closed
    }

    let origin: Origin
    private let links: PeerLinks
    private let driver: AgentDriver
    private let loop: AgentLoop
    private var machine: PeerLinkMachine
    private var state = State.connecting(deadline: nil)
    private var outbox = Outbox()
    private var isUnflushed = false

    init(descriptor: Int32, machine: PeerLinkMachine, origin: Origin, links: PeerLinks, driver: AgentDriver) {
        self.machine = machine
        self.origin = origin
        self.links = links
        self.driver = driver
        loop = driver.loop
        super.init(descriptor: descriptor)
    }

    /// What the link was proven with; nil before.
    var key: GossipKey? { machine.key }

    /// False when the kernel refuses the socket.
    func open() -> Bool {
        guard loop.register(self, Poll.edges) else { return false }
        switch origin {
        case .accepted: prove()
        case .dialled:
            let deadline = loop.schedule(after: PeerLinks.connectTimeout) { [weak self] in self?.end(.silent) }
            state = .connecting(deadline: deadline)
        }
        return true
    }

    func send(_ message: [UInt8]) {
        guard case .proven = state else { return }
        guard outbox.count + message.count <= links.pendingBytesMax else {
            driver.note(.linkOverflow, "a peer takes messages too slowly; its link was closed and will be made anew")
            return close()
        }
        do throws(PeerLinkMachine.Failure) {
            if let full = try machine.gather(message) {
                outbox.bytes += full
                write()
            }
            willFlush()
        } catch {
            driver.note(.linkOverflow, "a message of \(message.count) bytes can't be sent over a peer link (\(error)); the link was closed")
            close()
        }
    }

    /// What is due and fits into the socket is still said. Whoever dialled is told that it was rejected: a peer that hangs up on our hello has not
    /// taken our key.
    func close() { end(.rejected) }

    /// - Parameter failure: what the core is told when the link was not proven.
    private func end(_ failure: ConnectFailure) {
        guard isRegistered else { return }
        seal()
        _ = outbox.write(to: descriptor)
        loop.close(self)
        let former = state
        state = .closed
        switch former {
        case .connecting(let deadline):
            if let deadline { loop.cancel(deadline) }
            links.gaveUp(self, failure == .rejected ? .silent : failure)
        case .proving(let deadline):
            loop.cancel(deadline)
            links.gaveUp(self, failure)
        case .proven(let link): links.closed(link)
        case .closed: break
        }
    }

    // MARK: Socket

    override func proceed() {
        if case .connecting = state {
            let error = mesh_socket_error(descriptor)
            guard error == 0, !readiness.isBroken else { return end(mesh_says_refused(error) ? .refused : .silent) }
            prove()
        }
        if outbox.count > 0 { write() }
        if readiness.isReadable { read() }
    }

    private func prove() {
        if case .connecting(let deadline?) = state { loop.cancel(deadline) }
        state = .proving(
            deadline: loop.schedule(after: PeerLinks.handshakeTimeout) { [weak self] in
                guard let self else { return }
                driver.note(.linkHandshakeTimeout, "a peer link was not proven in time and was closed")
                end(.silent)
            })
        perform(machine.start())
    }

    /// One read a turn.
    private func read() {
        guard isRegistered, let memory = loop.scratch.baseAddress else { return }
        switch readiness.receive(from: descriptor, into: memory, loop.scratch.count) {
        case .bytes(let count):
            do throws(PeerLinkMachine.Failure) {
                perform(try machine.receive(Array(UnsafeRawBufferPointer(start: memory, count: count))))
            } catch {
                driver.note(.linkRejected, "a peer link was closed: \(error)")
                close()
            }
            if isRegistered, readiness.isReadable { loop.postpone(self) }
        case .end: close()
        case .nothing: break
        // A connection that breaks says nothing of the key.
        case .failure: end(.silent)
        }
    }

    private func perform(_ events: [PeerLinkMachine.Event]) {
        for event in events {
            switch event {
            case .send(let bytes):
                outbox.bytes += bytes
                willFlush()
            case .established(let peer, let endpoint):
                guard case .proving(let deadline) = state else { return }
                loop.cancel(deadline)
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

    /// Nothing is gathered before there is a key to seal it.
    private func seal() {
        if let frame = try? machine.seal() { outbox.bytes += frame }
    }

    private func write() {
        if case .failure = outbox.write(to: descriptor) { end(.silent) }
    }

    private func willFlush() {
        guard !isUnflushed else { return }
        isUnflushed = true
        driver.willFlush(self)
    }
}

extension PeerLink: Flushing {
    func flush() {
        isUnflushed = false
        guard isRegistered else { return }
        seal()
        write()
    }
}

import MeshCore
import MeshLoop

/// One application's connection: commands in, replies in their order and pushes out.
///
/// Replies are gathered until the loop's turn ends, and then written as one. Reading stops while the client is owed too much: 1024 replies,
/// or more bytes than its socket takes. So a client that asks faster than it listens slows itself down and nobody else; one that subscribes
/// and doesn't listen is closed, since a push can't wait.
final class ClientConnection: LoopSource {
    private enum Access {
        /// Waits for `AUTH`. Can transition to granted.
        case unproven(bytes: Int, deadline: LoopTimer?)
        case granted
    }

    let id: ClientID
    private let token: [UInt8]?
    private let table: ClientTable
    private let driver: AgentDriver
    private let loop: AgentLoop
    private var access: Access
    private var reader = CommandReader()
    private var replies = ReplyQueue<ClientRequest.Kind>()
    /// What is due and not written.
    private var outbox = Outbox()
    /// The kernel took less than was due. Nothing is written, and no command taken, until there is room again.
    private var isBlocked = false
    /// Commands may have been left where they were read, since too much was owed.
    private var isHeldBack = false
    /// The client says no more.
    private var isEnded = false
    private var isClosed = false
    private var isUnflushed = false
    /// Of a registered application only: somebody at a terminal may take their time.
    private var heartbeat: LoopTimer?
    private var heardAt: Int64

    /// More requests in flight than any application has threads; above it their bytes wait in the kernel.
    static let inFlightMax = 1024
    /// Commands taken in one turn, so that one who always has more keeps nobody waiting.
    static let commandsPerTurn = 64
    /// Bytes that may wait for a client that subscribes and doesn't read.
    static let pushBytesMax = 1 << 20
    /// Bytes of replies that may wait: what was in flight when the client stopped reading. Each is at most one session.
    static let replyBytesMax = 16 << 20
    /// Bytes that are gathered; above it they are written at once. As much as a socket takes.
    static let gatheredBytesMax = 64 << 10
    /// What a stranger may send before `AUTH`, and how long it may take.
    static let unprovenBytesMax = 256
    static let unprovenTimeout = Duration.seconds(5)
    /// Three heartbeats of a second.
    static let silenceMax = Duration.seconds(3)

    init(descriptor: Int32, id: ClientID, token: [UInt8]?, table: ClientTable, driver: AgentDriver) {
        self.id = id
        self.token = token
        self.table = table
        self.driver = driver
        loop = driver.loop
        heardAt = loop.now
        access = token == nil ? .granted : .unproven(bytes: 0, deadline: nil)
        super.init(descriptor: descriptor)
    }

    /// False when the kernel refuses the socket.
    func open() -> Bool {
        guard loop.register(self, Poll.readingEdges) else { return false }
        guard case .unproven = access else { return true }
        let deadline = loop.schedule(after: Self.unprovenTimeout) { [weak self] in
            self?.end(.clientUnauthenticated, "a client sent no AUTH in time and was closed")
        }
        access = .unproven(bytes: 0, deadline: deadline)
        return true
    }

    func answer(_ number: UInt64, _ response: ClientResponse) {
        guard !isClosed else { return }
        replies.answer(number, into: &outbox.bytes) { kind, bytes in
            ClientProtocol.write(response, answering: kind, to: &bytes)
        }
        repliesGathered()
        if isHeldBack { loop.postpone(self) }
    }

    func push(_ bytes: [UInt8]) {
        guard !isClosed else { return }
        guard outbox.count + bytes.count <= Self.pushBytesMax else {
            return end(.clientSlow, "a client reads its messages too slowly and was closed")
        }
        outbox.bytes += bytes
        repliesGathered()
    }

    /// What is due and fits into the socket is still said.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        if !isBlocked { _ = outbox.write(to: descriptor) }
        if case .unproven(_, let deadline?) = access { loop.cancel(deadline) }
        if let heartbeat { loop.cancel(heartbeat) }
        loop.close(self)
        table.closed(id)
    }

    // MARK: Commands

    override func proceed() {
        guard !isClosed else { return }
        if isBlocked { write() }
        takeCommands()
        // Nobody is there to be answered, and the rest of what was asked need not be known.
        if isHeldBack, readiness.isBroken { close() }
    }

    private var mayProceed: Bool { !isBlocked && replies.count < Self.inFlightMax }

    /// Takes commands, as far as this client may be owed replies and the turn has room for them. At most one read.
    private func takeCommands() {
        isHeldBack = false
        var left = Self.commandsPerTurn
        var hasRead = false
        do throws(RESPError) {
            while !isClosed {
                guard mayProceed else {
                    isHeldBack = true
                    return
                }
                guard left > 0, loop.commandsLeft > 0 else { return loop.postpone(self) }
                if let command = try reader.next() {
                    left -= 1
                    loop.commandsLeft -= 1
                    take(command)
                } else if case .unproven(let bytes, _) = access, bytes > Self.unprovenBytesMax {
                    end(.clientUnauthenticated, "a client sent more than \(Self.unprovenBytesMax) bytes without AUTH and was closed")
                } else if isEnded {
                    close()
                } else if !readiness.isReadable {
                    return
                } else if hasRead {
                    return loop.postpone(self)
                } else {
                    hasRead = true
                    read()
                }
            }
        } catch {
            refuse(error)
        }
    }

    private func read() {
        guard let memory = loop.scratch.baseAddress else { return }
        switch readiness.receive(from: descriptor, into: memory, loop.scratch.count) {
        case .bytes(let count):
            heardAt = loop.now
            reader.append(UnsafeRawBufferPointer(start: memory, count: count))
            if case .unproven(let bytes, let deadline) = access { access = .unproven(bytes: bytes + count, deadline: deadline) }
        case .end: isEnded = true
        case .nothing: break
        case .failure: close()
        }
    }

    private func take(_ command: Result<ClientCommand, ClientFailure>) {
        switch command {
        case .success(.request(let request)): isGranted ? submit(request) : demandToken()
        case .success(.authenticate(let offered)): authenticate(offered)
        case .success(.hello): isGranted ? reply { ClientProtocol.write(greeting, to: &$0) } : demandToken()
        case .failure(let failure): isGranted ? reply { ClientProtocol.write(failure, to: &$0) } : demandToken()
        }
    }

    private func submit(_ request: ClientRequest) {
        if request.kind == .register, heartbeat == nil { watchHeartbeat(after: Self.silenceMax) }
        if replies.offer(into: &outbox.bytes, { driver.answerAtOnce(request, to: &$0) }) {
            repliesGathered()
        } else {
            driver.feed(.request(RequestID(client: id, number: replies.admit(request.kind)), request))
        }
    }

    private var greeting: ClientGreeting { ClientGreeting(version: MeshAgent.version, node: driver.id.name) }

    private var isGranted: Bool {
        if case .granted = access { true } else { false }
    }

    /// A wrong token ends the connection, so that guessing costs one each.
    private func authenticate(_ offered: [UInt8]) {
        guard case .unproven(_, let deadline) = access else { return reply { RESPValue.simple("OK").append(to: &$0) } }
        guard let token, Self.isEqual(offered, token) else {
            reply { RESPValue.error("WRONGPASS the token is not this agent's").append(to: &$0) }
            return end(.clientUnauthenticated, "a client sent a wrong token and was closed")
        }
        if let deadline { loop.cancel(deadline) }
        access = .granted
        reply { RESPValue.simple("OK").append(to: &$0) }
    }

    private func demandToken() {
        reply { RESPValue.error("NOAUTH send AUTH with the agent's token first").append(to: &$0) }
    }

    /// In a time that doesn't tell where the first difference is.
    private static func isEqual(_ offered: [UInt8], _ token: [UInt8]) -> Bool {
        offered.count == token.count && zip(offered, token).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    /// A browser or another protocol gets no word: what it would make of one is unknown.
    private func refuse(_ error: RESPError) {
        if error != .notACommand {
            ClientProtocol.write(ClientFailure(.invalid, error.description), to: &outbox.bytes)
        }
        end(.clientProtocol, "a client was closed: \(error)")
    }

    // MARK: Replies

    /// An answer that is here already, in its place among those that are not.
    private func reply(_ write: (inout [UInt8]) -> Void) {
        replies.pass(into: &outbox.bytes, write)
        repliesGathered()
    }

    private func repliesGathered() {
        guard outbox.count > 0 else { return }
        if outbox.count >= Self.gatheredBytesMax { return write() }
        guard !isUnflushed, !isBlocked else { return }
        isUnflushed = true
        driver.willFlush(self)
    }

    private func write() {
        guard !isClosed else { return }
        switch outbox.write(to: descriptor) {
        case .all:
            guard isBlocked else { return }
            isBlocked = false
            loop.change(self, Poll.readingEdges)
            if isHeldBack { loop.postpone(self) }
        case .part:
            if outbox.count > Self.replyBytesMax {
                return end(.clientSlow, "a client reads its replies too slowly and was closed")
            }
            guard !isBlocked else { return }
            isBlocked = true
            loop.change(self, Poll.edges)
        case .failure: close()
        }
    }

    private func end(_ trouble: Trouble, _ detail: String) {
        guard !isClosed else { return }
        driver.note(trouble, detail)
        close()
    }

    private func watchHeartbeat(after delay: Duration) {
        heartbeat = loop.schedule(after: delay) { [weak self] in
            guard let self else { return }
            let left = heardAt + Self.silenceMax.nanoseconds - loop.now
            // While it waits for the agent with all it may ask, its silence is ours.
            if replies.count >= Self.inFlightMax {
                watchHeartbeat(after: Self.silenceMax)
            } else if left > 0 {
                watchHeartbeat(after: .nanoseconds(left))
            } else {
                end(.clientSilent, "an application sent no heartbeat for 3 seconds and was closed")
            }
        }
    }
}

extension ClientConnection: Flushing {
    func flush() {
        isUnflushed = false
        if !isBlocked { write() }
    }
}

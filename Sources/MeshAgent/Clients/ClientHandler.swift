import MeshCore
import NIOCore

#if canImport(CMeshSystem)
    import CMeshSystem
#endif

/// One application's connection: commands in, replies in their order and pushes out.
///
/// Replies are gathered until the loop's turn ends, and then written as one. Reading stops while the client is owed too much: 1024 replies,
/// or more bytes than its socket takes. So a client that asks faster than it listens slows itself down and nobody else; one that subscribes
/// and doesn't listen is closed, since a push can't wait.
final class ClientHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Access {
        /// Waits for `AUTH`. Can transition to granted.
        case unproven(bytes: Int, deadline: Scheduled<Void>?)
        case granted
    }

    let id: ClientID
    private let token: [UInt8]?
    private let table: ClientTable
    private let driver: AgentDriver
    private var access: Access
    private var reader = CommandReader()
    private var replies = ReplyQueue<ClientRequest.Kind>()
    /// What is due and not written.
    private var gathered: [UInt8] = []
    /// Whether the channel may have something that the kernel did not take yet. What comes later goes behind it.
    private var isChannelHolding = false
    private var context: ChannelHandlerContext?
    /// Open as long as the channel is active, and used only then. Kept, because to ask the channel for it takes as long as to write.
    private var socket: NIOBSDSocket.Handle?
    private var isClosing = false
    private var isParsing = false
    /// Commands may have been left where they were read, since too much was owed.
    private var isHeldBack = false
    private var isReadHeldBack = false
    private var isUnflushed = false
    /// Of a registered application only: somebody at a terminal may take their time.
    private var heartbeat: Scheduled<Void>?
    private var heardAt = NIODeadline.now()

    /// More requests in flight than any application has threads; above it their bytes wait in the kernel.
    static let inFlightMax = 1024
    /// Bytes that may wait for a client that subscribes and doesn't read.
    static let pushBytesMax = 1 << 20
    /// Bytes of replies that may wait: what was in flight when the client stopped reading. Each is at most one session.
    static let replyBytesMax = 16 << 20
    /// Bytes that are gathered; above it they are written at once. As much as the channel takes before it calls itself full.
    static let gatheredBytesMax = 64 << 10
    /// Buffers that are kept for the next turn. Most replies are far shorter, and a client may rest for long after a longer one.
    static let keptBytesMax = 16 << 10
    /// What a stranger may send before `AUTH`, and how long it may take.
    static let unprovenBytesMax = 256
    static let unprovenTimeout = TimeAmount.seconds(5)
    /// Three heartbeats of a second.
    static let silenceMax = TimeAmount.seconds(3)

    init(id: ClientID, token: [UInt8]?, table: ClientTable, driver: AgentDriver) {
        self.id = id
        self.token = token
        self.table = table
        self.driver = driver
        access = token == nil ? .granted : .unproven(bytes: 0, deadline: nil)
    }

    func answer(_ number: UInt64, _ response: ClientResponse) {
        guard !isClosing else { return }
        replies.answer(number, into: &gathered) { kind, bytes in
            ClientProtocol.write(response, answering: kind, to: &bytes)
        }
        repliesGathered()
        if isHeldBack || isReadHeldBack { proceed() }
    }

    func push(_ buffer: ByteBuffer) {
        guard !isClosing, let context else { return }
        guard pendingBytes + gathered.count + buffer.readableBytes <= Self.pushBytesMax else {
            return end(.clientSlow, "a client reads its messages too slowly and was closed")
        }
        writeGathered()
        write(buffer, context)
        willFlush()
    }

    func close() {
        guard !isClosing, let context else { return }
        isClosing = true
        writeGathered()
        context.flush()
        context.close(promise: nil)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        socket = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        guard case .unproven = access else { return }
        let deadline = context.eventLoop.assumeIsolated().scheduleTask(in: Self.unprovenTimeout) {
            guard case .unproven = self.access else { return }
            self.end(.clientUnauthenticated, "a client sent no AUTH in time and was closed")
        }
        access = .unproven(bytes: 0, deadline: deadline)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        if case .unproven(_, let deadline) = access { deadline?.cancel() }
        heartbeat?.cancel()
        self.context = nil
        table.closed(id)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        let buffer = unwrapInboundIn(data)
        buffer.withUnsafeReadableBytes { reader.append($0) }
        heardAt = .now()
        proceed()
        guard !isClosing, case .unproven(let bytes, let deadline) = access else { return }
        access = .unproven(bytes: bytes + buffer.readableBytes, deadline: deadline)
        if bytes + buffer.readableBytes > Self.unprovenBytesMax {
            end(.clientUnauthenticated, "a client sent more than \(Self.unprovenBytesMax) bytes without AUTH and was closed")
        }
    }

    func read(context: ChannelHandlerContext) {
        if mayProceed { context.read() } else { isReadHeldBack = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        proceed()
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close()
    }

    // MARK: Commands

    private var mayProceed: Bool {
        guard !isClosing, replies.count < Self.inFlightMax, let context else { return false }
        return !isChannelHolding || context.channel.isWritable
    }

    /// Takes commands from what has been read, as far as this client may be owed replies.
    private func proceed() {
        // A reply that comes while a command is being handed over leads back here.
        guard !isParsing else { return }
        isParsing = true
        isHeldBack = false
        do throws(RESPError) {
            while true {
                guard mayProceed else {
                    isHeldBack = true
                    break
                }
                guard let command = try reader.next() else { break }
                take(command)
            }
        } catch {
            refuse(error)
        }
        isParsing = false
        if isReadHeldBack, mayProceed {
            isReadHeldBack = false
            context?.read()
        }
    }

    private func take(_ command: Result<ClientCommand, ClientFailure>) {
        switch command {
        case .success(.authenticate(let offered)): authenticate(offered)
        case .success(.hello): isGranted ? reply { ClientProtocol.write(greeting, to: &$0) } : demandToken()
        case .success(.request(let request)): isGranted ? submit(request) : demandToken()
        case .failure(let failure): isGranted ? reply { ClientProtocol.write(failure, to: &$0) } : demandToken()
        }
    }

    private func submit(_ request: ClientRequest) {
        if request.kind == .register, heartbeat == nil { watchHeartbeat(in: Self.silenceMax) }
        if replies.offer(into: &gathered, { driver.answerAtOnce(request, to: &$0) }) {
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
        deadline?.cancel()
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
            ClientProtocol.write(ClientFailure(.invalid, error.description), to: &gathered)
        }
        end(.clientProtocol, "a client was closed: \(error)")
    }

    // MARK: Replies

    /// An answer that is here already, in its place among those that are not.
    private func reply(_ write: (inout [UInt8]) -> Void) {
        replies.pass(into: &gathered, write)
        repliesGathered()
    }

    private func repliesGathered() {
        guard !gathered.isEmpty else { return }
        if gathered.count >= Self.gatheredBytesMax { flush() } else { willFlush() }
    }

    private func willFlush() {
        guard !isUnflushed else { return }
        isUnflushed = true
        driver.willFlush(self)
    }

    /// Past the channel, as long as that holds nothing back: mostly the kernel takes all at once, and the way through the channel costs as much
    /// as the kernel does.
    private func writeGathered() {
        guard !gathered.isEmpty, let context else { return }
        if isChannelHolding { isChannelHolding = pendingBytes > 0 }
        let taken = isChannelHolding ? 0 : writeToSocket(context)
        if taken < gathered.count { write(ByteBuffer(bytes: gathered[taken...]), context) }
        if gathered.count > Self.keptBytesMax { gathered = [] } else { gathered.removeAll(keepingCapacity: true) }
    }

    private func write(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        isChannelHolding = true
        context.write(wrapOutboundOut(buffer), promise: nil)
    }

    /// How many of the gathered bytes the kernel took. Why it took no more is for the channel to find, which is given the rest.
    private func writeToSocket(_ context: ChannelHandlerContext) -> Int {
        #if canImport(CMeshSystem)
            guard let socket, context.channel.isActive else { return 0 }
            return gathered.withUnsafeBytes { max(0, mesh_send(socket, $0.baseAddress, $0.count)) }
        #else
            return 0
        #endif
    }

    private var pendingBytes: Int {
        (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    private func end(_ trouble: Trouble, _ detail: String) {
        guard !isClosing else { return }
        driver.note(trouble, detail)
        close()
    }

    private func watchHeartbeat(in delay: TimeAmount) {
        heartbeat = context?.eventLoop.assumeIsolated().scheduleTask(in: delay) {
            let due = self.heardAt + Self.silenceMax
            // While it waits for the agent with all it may ask, its silence is ours.
            if self.replies.count >= Self.inFlightMax {
                self.watchHeartbeat(in: Self.silenceMax)
            } else if due > .now() {
                self.watchHeartbeat(in: due - .now())
            } else {
                self.end(.clientSilent, "an application sent no heartbeat for 3 seconds and was closed")
            }
        }
    }
}

extension ClientHandler: Flushing {
    func flush() {
        isUnflushed = false
        guard !isClosing, let context else { return }
        writeGathered()
        guard isChannelHolding else { return }
        context.flush()
        if !context.channel.isWritable, pendingBytes > Self.replyBytesMax {
            end(.clientSlow, "a client reads its replies too slowly and was closed")
        }
    }
}

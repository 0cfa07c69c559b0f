import NIOCore
import NIOWebSocket

/// What the application's side sends.
enum WebSocketOutbound: Sendable {
    case message(WebSocketMessage)
    case close(WebSocketCloseCode, reason: String)
}

/// One WebSocket after its upgrade: frames on one side, whole messages on the other; pings, deadlines and the closing handshake.
final class WebSocketHandler: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = WebSocketMessage
    typealias OutboundIn = WebSocketOutbound
    typealias OutboundOut = WebSocketFrame

    private let limits: WebSocketLimits
    private var assembler: WebSocketAssembler
    private var state = State.open
    private var timer: Scheduled<Void>?
    /// Whether a read is under way; otherwise a silent peer may just not have been read, because the application is busy.
    private var isListening = false
    /// Reads that the application did not ask for, since it last asked.
    private var readsForced = 0
    /// Whether nothing was heard since the last ping.
    private var awaitsPong = false

    private enum State {
        /// Can transition to closing, failed, closed.
        case open
        /// A close was sent, the peer's is awaited; its messages are dropped. Can transition to closed.
        case closing
        /// A close was sent after a violation; nothing the peer says counts. Can transition to closed.
        case failed
        /// Final.
        case closed
    }

    /// How long a failed connection lingers, so that the peer reads why before a reset would discard it.
    private static let linger = TimeAmount.seconds(1)
    /// Each may bring 64 KiB that nobody asked for. An application that is busy for longer has lost its peer.
    private static let readsForcedMax = 4

    init(limits: WebSocketLimits) {
        self.limits = limits
        assembler = WebSocketAssembler(limits: limits)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        schedulePing(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
    }

    // MARK: From the peer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = Self.unwrapInboundIn(data)
        switch state {
        case .open:
            if awaitsPong { schedulePing(context) }
            perform(assembler.receive(frame), context)
        case .closing: if frame.opcode == .connectionClose { finish(context) }
        case .failed, .closed: break
        }
    }

    private func perform(_ action: WebSocketAssembler.Action, _ context: ChannelHandlerContext) {
        switch action {
        case .wait: break
        case .deliver(let message): context.fireChannelRead(Self.wrapInboundOut(message))
        case .pong(let payload): write(.pong, payload, context)
        case .closed(let code):
            endMessages(context)
            write(.connectionClose, code.map { Self.closePayload($0, reason: "") } ?? ByteBuffer(), context)
            finish(context)
        case .fail(let code, let reason): fail(code, reason, context)
        }
    }

    func read(context: ChannelHandlerContext) {
        isListening = true
        readsForced = 0
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isListening = false
        context.fireChannelReadComplete()
        switch state {
        case .open: break
        // The application may have stopped reading; the peer's close must still be heard.
        case .closing, .failed: context.read()
        case .closed: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent: close(.goingAway, reason: "the server is shutting down", context)
        case ChannelEvent.inputClosed:
            context.fireUserInboundEventTriggered(event)
            finish(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case NIOWebSocketError.invalidFrameLength:
            fail(.messageTooBig, "a frame has at most \(limits.messageBytesMax) bytes", context)
        case is NIOWebSocketError: fail(.protocolError, "malformed frame", context)
        // The connection itself: there is nobody to tell.
        default: finish(context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        state = .closed
        timer?.cancel()
        context.fireChannelInactive()
    }

    // MARK: From the application

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .open = state else {
            promise?.fail(ChannelError.outputClosed)
            return
        }
        switch Self.unwrapOutboundIn(data) {
        case .message(.text(let text)): context.write(frame(.text, ByteBuffer(string: text)), promise: promise)
        case .message(.binary(let bytes)): context.write(frame(.binary, bytes), promise: promise)
        case .close(let code, let reason):
            close(code, reason: reason, context)
            promise?.succeed()
        }
    }

    // MARK: Closing

    private func close(_ code: WebSocketCloseCode, reason: String, _ context: ChannelHandlerContext) {
        guard case .open = state else { return }
        state = .closing
        endMessages(context)
        write(.connectionClose, Self.closePayload(code, reason: reason), context)
        finish(context, after: TimeAmount(limits.closeTimeout))
        context.read()
    }

    private func fail(_ code: WebSocketCloseCode, _ reason: String, _ context: ChannelHandlerContext) {
        guard case .open = state else { return finish(context) }
        state = .failed
        endMessages(context)
        write(.connectionClose, Self.closePayload(code, reason: reason), context)
        context.close(mode: .output, promise: nil)
        finish(context, after: Self.linger)
        context.read()
    }

    /// The application reads what has come, and then the end.
    private func endMessages(_ context: ChannelHandlerContext) {
        context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    }

    private func finish(_ context: ChannelHandlerContext, after delay: TimeAmount) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: delay) { self.finish(context) }
    }

    private func finish(_ context: ChannelHandlerContext) {
        if case .closed = state { return }
        state = .closed
        timer?.cancel()
        // Behind whatever was written before.
        context.close(promise: nil)
    }

    private func write(_ opcode: WebSocketOpcode, _ payload: ByteBuffer, _ context: ChannelHandlerContext) {
        context.writeAndFlush(frame(opcode, payload), promise: nil)
    }

    private func frame(_ opcode: WebSocketOpcode, _ payload: ByteBuffer) -> NIOAny {
        Self.wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: payload))
    }

    /// A control frame holds 125 bytes, two of them the code. The reason is cut between characters.
    private static func closePayload(_ code: WebSocketCloseCode, reason: String) -> ByteBuffer {
        var payload = ByteBuffer(integer: code.rawValue)
        var room = 123
        for character in reason {
            room -= character.utf8.count
            guard room >= 0 else { break }
            payload.writeString(String(character))
        }
        return payload
    }

    // MARK: Pings

    private func schedulePing(_ context: ChannelHandlerContext) {
        awaitsPong = false
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.pingInterval)) {
            guard case .open = self.state else { return }
            self.write(.ping, ByteBuffer(), context)
            self.awaitsPong = true
            self.schedulePongCheck(context)
        }
    }

    private func schedulePongCheck(_ context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.pongTimeout)) {
            guard case .open = self.state else { return }
            guard !self.isListening, self.readsForced < Self.readsForcedMax else { return self.finish(context) }
            // The pong may wait behind messages that the application has not asked for yet.
            self.readsForced += 1
            self.isListening = true
            context.read()
            self.schedulePongCheck(context)
        }
    }
}

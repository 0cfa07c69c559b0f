public import NIOCore
import NIOWebSocket

/// One whole message, however many frames it came in.
public enum WebSocketMessage: Hashable, Sendable {
    case text(String)
    case binary(ByteBuffer)
}

/// Why a WebSocket is closed (RFC 6455, section 7.4).
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16

    public static let normal = WebSocketCloseCode(rawValue: 1000)
    /// The server is shutting down; the browser should connect again.
    public static let goingAway = WebSocketCloseCode(rawValue: 1001)
    public static let protocolError = WebSocketCloseCode(rawValue: 1002)
    /// Binary where only text is taken.
    public static let unsupportedData = WebSocketCloseCode(rawValue: 1003)
    /// Text that is not UTF-8.
    public static let invalidPayload = WebSocketCloseCode(rawValue: 1007)
    public static let policyViolation = WebSocketCloseCode(rawValue: 1008)
    public static let messageTooBig = WebSocketCloseCode(rawValue: 1009)
    /// The server failed.
    public static let internalError = WebSocketCloseCode(rawValue: 1011)
    /// The server has too much to do; try again later.
    public static let tryAgainLater = WebSocketCloseCode(rawValue: 1013)

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Whether it may stand in a close frame: 1004 to 1006 and 1015 are reserved for other uses, and 3000 to 4999 belong to applications.
    var isSendable: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}

/// Bounds of one WebSocket.
public struct WebSocketLimits: Hashable, Sendable {
    /// Bytes of one frame and of one message. Beyond it the socket closes with 1009. Default 64 KiB, as for a message of a channel.
    public var messageBytesMax = 64 * 1024
    /// Whether binary messages are taken; otherwise they close the socket with 1003.
    public var acceptsBinary = true
    /// Time between two pings. Default 30 s: proxies tend to drop what is silent for 60.
    public var pingInterval: Duration = .seconds(30)
    /// How long a peer may be silent after a ping before it counts as gone.
    public var pongTimeout: Duration = .seconds(10)
    /// How long a peer may take to answer a close.
    public var closeTimeout: Duration = .seconds(5)

    public init() {}
}

/// Checks frames and puts messages together. Knows no socket and no time.
struct WebSocketAssembler {
    private let limits: WebSocketLimits
    /// The message whose first frames have come: its kind, and its bytes so far. Never more than a message may have.
    private var partial: (opcode: WebSocketOpcode, bytes: ByteBuffer)?

    enum Action: Equatable {
        case wait
        case deliver(WebSocketMessage)
        case pong(ByteBuffer)
        /// The peer closes; the code is nil when it gave none.
        case closed(WebSocketCloseCode?)
        case fail(WebSocketCloseCode, String)
    }

    init(limits: WebSocketLimits) {
        self.limits = limits
    }

    mutating func receive(_ frame: WebSocketFrame) -> Action {
        guard frame.maskKey != nil else { return .fail(.protocolError, "a client's frames are masked") }
        guard !frame.rsv1, !frame.rsv2, !frame.rsv3 else { return .fail(.protocolError, "no extension was agreed") }
        let bytes = frame.unmaskedData
        switch frame.opcode {
        case .ping: return .pong(bytes)
        case .pong: return .wait
        case .connectionClose: return close(bytes)
        case .text, .binary:
            guard partial == nil else { return .fail(.protocolError, "the message before is not complete") }
            if frame.opcode == .binary, !limits.acceptsBinary { return .fail(.unsupportedData, "only text is taken here") }
            return append(bytes, to: (frame.opcode, ByteBuffer()), isLast: frame.fin)
        case .continuation:
            guard let partial else { return .fail(.protocolError, "there is no message to continue") }
            return append(bytes, to: partial, isLast: frame.fin)
        default: return .fail(.protocolError, "unknown opcode")
        }
    }

    private mutating func append(
        _ bytes: ByteBuffer, to message: (opcode: WebSocketOpcode, bytes: ByteBuffer), isLast: Bool
    ) -> Action {
        partial = nil
        var message = message
        guard message.bytes.readableBytes + bytes.readableBytes <= limits.messageBytesMax else {
            return .fail(.messageTooBig, "a message has at most \(limits.messageBytesMax) bytes")
        }
        if message.bytes.readableBytes == 0 { message.bytes = bytes } else { message.bytes.writeImmutableBuffer(bytes) }
        guard isLast else {
            partial = message
            return .wait
        }
        guard message.opcode == .text else { return .deliver(.binary(message.bytes)) }
        guard let text = String(validating: message.bytes.readableBytesView, as: UTF8.self) else {
            return .fail(.invalidPayload, "text is UTF-8")
        }
        return .deliver(.text(text))
    }

    private func close(_ bytes: ByteBuffer) -> Action {
        var bytes = bytes
        guard bytes.readableBytes > 0 else { return .closed(nil) }
        guard let code = bytes.readInteger(as: UInt16.self).map(WebSocketCloseCode.init), code.isSendable else {
            return .fail(.protocolError, "a close frame begins with a code of RFC 6455")
        }
        guard String(validating: bytes.readableBytesView, as: UTF8.self) != nil else {
            return .fail(.invalidPayload, "a close reason is UTF-8")
        }
        return .closed(code)
    }
}

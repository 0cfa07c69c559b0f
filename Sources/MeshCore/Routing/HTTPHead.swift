/// A request's head, as ranges of the bytes it was found in. Nothing is copied.
public struct RequestHead: Sendable {
    /// Where the request line begins: not 0 when an empty line came first.
    public var start = 0
    /// The bytes through the blank line, `start` included: the body begins here.
    public var byteCount = 0
    public var method: HTTPMethod = .other
    public var methodRange = 0..<0
    /// What is sent on as target. Of an absolute form only the path and query; empty stands for `/`, or for `*` with OPTIONS.
    public var target = 0..<0
    /// Behind the request line's CRLF.
    public var fieldsStart = 0
    public var isHTTP11 = true
    public var isAbsoluteForm = false
    /// Host and port as the client meant them: of the absolute form if there is one, else of the Host field. Empty only for HTTP/1.0.
    public var authority = 0..<0
    public var framing: BodyFraming = .none
    /// Whether the client wants the connection kept.
    public var isPersistent = true
    public var expectsContinue = false
    /// A GET without a body that asks for `Upgrade: websocket`.
    public var asksForWebSocket = false
    /// The value of Sec-WebSocket-Key; empty when there is none.
    public var webSocketKey = 0..<0
    public var hasIdempotencyKey = false
    public var hasCookies = false
}

/// A response's head, as ranges of the bytes it was found in.
public struct ResponseHead: Sendable {
    public var byteCount = 0
    public var status = 0
    /// Behind the status line's CRLF.
    public var fieldsStart = 0
    public var isHTTP11 = true
    /// What the fields say; see ``BodyFraming/ofResponse(_:to:)`` for what the request makes of it.
    public var framing: BodyFraming = .untilClose
    public var isPersistent = true
    public var upgradesToWebSocket = false
    /// The value of Sec-WebSocket-Accept; empty when there is none.
    public var webSocketAccept = 0..<0
}

/// How the end of a body is found (RFC 9112, section 6).
public enum BodyFraming: Hashable, Sendable {
    case none
    case length(Int)
    case chunked
    /// Responses only.
    case untilClose

    /// The framing of the body that really follows `head` (RFC 9112, section 6.3, rules 1 and 2).
    public static func ofResponse(_ head: ResponseHead, to method: HTTPMethod) -> BodyFraming {
        if method == .head || head.status < 200 || head.status == 204 || head.status == 304 { return .none }
        return head.framing
    }
}

public enum HTTPMethod: UInt8, Hashable, Sendable, CaseIterable {
    case get, head, post, put, delete, options, patch, query, trace, connect
    /// Any other token; passed on, never repeated.
    case other

    /// RFC 9110, section 9.2.1; QUERY by its own RFC.
    public var isSafe: Bool {
        switch self {
        case .get, .head, .options, .trace, .query: true
        default: false
        }
    }

    /// RFC 9110, section 9.2.2.
    public var isIdempotent: Bool { isSafe || self == .put || self == .delete }
}

/// Why a head is refused. A malformed one costs the connection: where the next message begins can't be trusted any more.
public enum HeadFault: Error, Hashable, Sendable, CaseIterable {
    case malformed
    case badHost
    case badLength
    case badTransferEncoding
    case lengthAndTransferEncoding
    case unknownTransferCoding
    case unknownExpectation
    case methodNotAllowed
    case unsupportedVersion
    case requestLineTooLong
    case headTooLarge

    /// The answer to a request with this fault (RFC 9110, section 15).
    public var status: Int {
        switch self {
        case .malformed, .badHost, .badLength, .badTransferEncoding, .lengthAndTransferEncoding: 400
        case .methodNotAllowed: 405
        case .requestLineTooLong: 414
        case .unknownExpectation: 417
        case .headTooLarge: 431
        case .unknownTransferCoding: 501
        case .unsupportedVersion: 505
        }
    }
}

/// One field line of a head.
public struct HeadField: Sendable {
    public var start: UInt16
    public var nameEnd: UInt16
    public var valueStart: UInt16
    public var valueEnd: UInt16
    /// Behind the CRLF.
    public var end: UInt16
    public var kind: FieldKind
    /// Not to be passed on.
    public var isDropped: Bool

    public var name: Range<Int> { Int(start)..<Int(nameEnd) }
    public var value: Range<Int> { Int(valueStart)..<Int(valueEnd) }
}

/// What a field means to a proxy.
public enum FieldKind: UInt8, Sendable {
    case other
    case host, contentLength, transferEncoding, connection, upgrade, expect, cookie
    /// Keep-Alive, Proxy-Connection, TE, HTTP2-Settings: meant for this connection only.
    case hopByHop
    /// X-Forwarded-For, -Proto, -Host, -Port and Forwarded: what a client claims here is not believed.
    case forwarded
    case webSocketKey, webSocketAccept, idempotencyKey

    /// Whether `Connection: NAME` may take such a field away. If it could, a client would delete what the next hop relies on.
    var mayBeNamedByConnection: Bool { self == .other || self == .idempotencyKey }
}

/// Bounds on a head, `balancer` defaults. Larger ones cost memory per connection that has not finished its head.
public enum HeadLimits {
    public static let requestLineBytesMax = 8 * 1024
    public static let headBytesMax = 32 * 1024
    public static let fieldBytesMax = 16 * 1024
    public static let fieldsMax = 100
    /// A Host is copied into X-Forwarded-Host in the head room in front of a head, so it must be short. DNS names end at 253.
    public static let authorityBytesMax = 512
    /// Each name in Connection is compared with each field: this keeps that product small.
    public static let connectionTokensMax = 32
    public static let methodBytesMax = 32
}

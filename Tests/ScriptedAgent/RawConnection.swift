import NIOCore
import NIOPosix

/// A TCP connection to loopback on which a test writes and reads bytes of its choice.
public struct RawConnection: ~Copyable {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var buffer = ByteBuffer()

    public static func open<Result: Sendable>(
        port: Int, _ body: (inout RawConnection) async throws -> Result
    ) async throws -> Result {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = RawConnection(inbound: inbound.makeAsyncIterator(), outbound: outbound)
            return try await body(&connection)
        }
    }

    private init(inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator, outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>) {
        self.inbound = inbound
        self.outbound = outbound
    }

    public func send(_ bytes: [UInt8]) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }
    public func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    public mutating func read(_ count: Int) async throws -> [UInt8] {
        while true {
            if let bytes = buffer.readBytes(length: count) { return bytes }
            guard var more = try await inbound.next() else { throw StillNot(description: "the peer closed before \(count) bytes") }
            buffer.writeBuffer(&more)
        }
    }

    /// Whether nothing comes any more, not even bytes that are left.
    public mutating func isAtEnd() async -> Bool {
        guard buffer.readableBytes == 0 else { return false }
        do {
            guard let more = try await inbound.next() else { return true }
            buffer.writeImmutableBuffer(more)
            return false
        } catch { return true }
    }

    /// The lines of an HTTP response's head, up to the empty one.
    public mutating func readHead() async throws -> [String] {
        var bytes: [UInt8] = []
        while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) { bytes += try await read(1) }
        return String(decoding: bytes.dropLast(4), as: UTF8.self).split(separator: "\r\n").map(String.init)
    }

    // MARK: WebSocket

    /// Asks for an upgrade; returns the head of the answer.
    public mutating func upgrade(_ path: String, host: String = "test", headers: [String] = []) async throws -> [String] {
        var lines = ["GET \(path) HTTP/1.1", "Host: \(host)", "Connection: keep-alive, Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="] + headers
        try await send(lines.joined(separator: "\r\n") + "\r\n\r\n")
        return try await readHead()
    }

    /// Sends one frame, masked with a fixed key as a client must.
    public func send(opcode: UInt8, _ payload: [UInt8], isLast: Bool = true) async throws {
        let mask: [UInt8] = [1, 2, 3, 4]
        var frame: [UInt8] = [opcode | (isLast ? 0x80 : 0)]
        switch payload.count {
        case 0..<126: frame.append(UInt8(payload.count) | 0x80)
        case 126..<65536: frame += [126 | 0x80, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default: frame += [127 | 0x80] + (0..<8).reversed().map { UInt8(truncatingIfNeeded: payload.count >> ($0 * 8)) }
        }
        frame += mask
        frame += payload.enumerated().map { $1 ^ mask[$0 % 4] }
        try await send(frame)
    }

    public func send(text: String) async throws { try await send(opcode: 1, Array(text.utf8)) }

    /// The next frame's first byte without the final bit, and its payload.
    public mutating func readFrame() async throws -> (opcode: UInt8, payload: [UInt8]) {
        let head = try await read(2)
        var count = Int(head[1] & 0x7F)
        if count == 126 { count = try await read(2).reduce(0) { $0 << 8 | Int($1) } }
        if count == 127 { count = try await read(8).reduce(0) { $0 << 8 | Int($1) } }
        return (head[0] & 0x0F, try await read(count))
    }

    public mutating func readText() async throws -> String {
        let frame = try await readFrame()
        guard frame.opcode == 1 else { throw StillNot(description: "opcode \(frame.opcode) is no text") }
        return String(decoding: frame.payload, as: UTF8.self)
    }

    /// The code of the next frame, which must be a close.
    public mutating func readCloseCode() async throws -> Int {
        let frame = try await readFrame()
        guard frame.opcode == 8, frame.payload.count >= 2 else { throw StillNot(description: "opcode \(frame.opcode) is no close") }
        return Int(frame.payload[0]) << 8 | Int(frame.payload[1])
    }
}

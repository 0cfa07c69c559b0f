import MeshAgent
import MeshCore
import NIOCore
import NIOPosix
import Synchronization
import TemporaryDirectory
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A plain stream connection of a test, to whatever listens.
final class TestConnection: Sendable {
    private struct State {
        var received: [UInt8] = []
        var reads = 0
        var isClosed = false
    }

    private let channel: any Channel
    private let state: StateBox

    private final class StateBox: Sendable {
        let value = Mutex(State())
    }

    private init(channel: any Channel, state: StateBox) {
        self.channel = channel
        self.state = state
    }

    /// - Parameter isReading: false for a client that lets everything pile up.
    static func connect(to address: ListenAddress, isReading: Bool = true) async throws -> TestConnection {
        let state = StateBox()
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: isReading)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(state))
                }
            }
        return try await eventually("a connection to \(address)") {
            do {
                switch address {
                case .unix(let path):
                    return TestConnection(channel: try await bootstrap.connect(unixDomainSocketPath: path).get(), state: state)
                case .tcp(let endpoint):
                    let channel = try await bootstrap.connect(host: endpoint.host, port: Int(endpoint.port)).get()
                    return TestConnection(channel: channel, state: state)
                }
            } catch let error as IOError where error.errnoCode == EAGAIN {
                // A Unix socket says so when its backlog is full; the agent is busy.
                return nil
            }
        }
    }

    static func connect(to endpoint: Endpoint, isReading: Bool = true) async throws -> TestConnection {
        try await connect(to: .tcp(endpoint), isReading: isReading)
    }

    func send(_ bytes: [UInt8]) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    /// Returns when the kernel has it.
    func sendAndWait(_ bytes: [UInt8]) async { try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }

    /// Goes on reading.
    func finishWriting() async { try? await channel.close(mode: .output).get() }

    func stopReading() async { try? await channel.setOption(.autoRead, value: false).get() }
    func startReading() async { try? await channel.setOption(.autoRead, value: true).get() }

    func send(_ text: String) { send(Array(text.utf8)) }

    var received: [UInt8] { state.value.withLock { $0.received } }
    var text: String { String(decoding: received, as: UTF8.self) }
    var isClosed: Bool { state.value.withLock { $0.isClosed } }
    /// How often bytes came: of a Unix socket, at most how often the other side wrote.
    var reads: Int { state.value.withLock { $0.reads } }

    func take() -> [UInt8] {
        state.value.withLock { state in
            defer { state.received = [] }
            return state.received
        }
    }

    func close() async { try? await channel.close().get() }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let state: StateBox

        init(_ state: StateBox) { self.state = state }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data).readableBytesView
            state.value.withLock { state in
                state.received += bytes
                state.reads += 1
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            state.value.withLock { $0.isClosed = true }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// A UDP socket of a test.
final class TestSocket: Sendable {
    private let channel: any Channel
    private let packets: Memory<[[UInt8]]>

    private init(channel: any Channel, packets: Memory<[[UInt8]]>) {
        self.channel = channel
        self.packets = packets
    }

    static func open() async throws -> TestSocket {
        let packets = Memory<[[UInt8]]>([])
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(packets))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return TestSocket(channel: channel, packets: packets)
    }

    var endpoint: Endpoint { .loopback(port: UInt16(channel.localAddress?.port ?? 0)) }
    var received: [[UInt8]] { packets.now }

    func send(_ bytes: [UInt8], to endpoint: Endpoint) async throws {
        let address = try SocketAddress(ipAddress: endpoint.host, port: Int(endpoint.port))
        try await channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: bytes)))
    }

    func close() async { try? await channel.close().get() }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        private let packets: Memory<[[UInt8]]>

        init(_ packets: Memory<[[UInt8]]>) { self.packets = packets }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(unwrapInboundIn(data).data.readableBytesView)
            packets.with { $0.append(bytes) }
        }
    }
}

/// A listener that takes connections and does with them what `answer` says: nothing, garbage, a hang-up.
func withListener<Result: Sendable>(
    answer: @escaping @Sendable (any Channel) -> Void = { _ in }, _ body: @Sendable (Endpoint) async throws -> Result
) async throws -> Result {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .childChannelInitializer { child in
            child.eventLoop.execute { answer(child) }
            return child.eventLoop.makeSucceededVoidFuture()
        }
        .bind(host: "127.0.0.1", port: 0).get()
    let result = try await body(.loopback(port: UInt16(channel.localAddress?.port ?? 0)))
    try? await channel.close().get()
    return result
}

/// A port where nobody listens, nor can begin to meanwhile: a client has it.
func withPort<Result: Sendable>(_ body: @Sendable (Endpoint) async throws -> Result) async throws -> Result {
    try await withListener { listener in
        let client = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: listener.host, port: Int(listener.port)).get()
        let result = try await body(.loopback(port: UInt16(client.localAddress?.port ?? 0)))
        try? await client.close().get()
        return result
    }
}

/// A directory that is gone after `body`. Short, since a socket's path may have a hundred bytes only.
func withDirectory<Result: Sendable>(_ body: @Sendable (String) async throws -> Result) async throws -> Result {
    let directory = try TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    return try await body(directory.path)
}

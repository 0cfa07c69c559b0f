import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// How it is known that a worker may get requests. `READY=1` by sd_notify(3) always counts.
public enum Readiness: Hashable, Sendable {
    /// Its port accepts a connection. The default.
    case listening
    /// A `GET` of this path on its port is answered with a status from 200 to 399.
    case answering(path: String)
    /// It says so itself, and nothing else counts.
    case notified
}

/// Looks again and again whether a worker is ready.
struct ReadinessProbe: Sendable {
    let host: String
    let port: UInt16
    /// Nil when a connection is enough.
    let path: String?

    /// The first looks follow each other quickly, as most programs start within some hundred milliseconds.
    private static let pauses: ClosedRange<Duration> = .milliseconds(10) ... .milliseconds(250)
    private static let timeout = TimeAmount.seconds(2)

    /// Returns when it is ready, or the task is cancelled.
    /// - Parameter note: is told what the last look has found, for whoever asks why it isn't ready.
    func wait(_ note: @Sendable (String) -> Void) async {
        var pause = Self.pauses.lowerBound
        while !Task.isCancelled {
            if await look(note) { return }
            try? await Task.sleep(for: pause)
            pause = min(pause * 3 / 2, Self.pauses.upperBound)
        }
    }

    private func look(_ note: @Sendable (String) -> Void) async -> Bool {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let answer = loop.makePromise(of: HTTPResponseStatus?.self)
        let (host, port, path) = (host, port, path)
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(Self.timeout).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                guard path != nil else { return }
                try channel.pipeline.syncOperations.addHTTPClientHandlers()
                try channel.pipeline.syncOperations.addHandler(StatusHandler(answer))
            }
        }
        guard let channel = try? await bootstrap.connect(host: host, port: Int(port)).get() else {
            answer.succeed(nil)
            return false
        }
        defer { channel.close(promise: nil) }
        // A port of the system's choice may be where this connection itself begins, and nobody listens: TCP opens from both sides (RFC 9293, 3.5).
        guard channel.localAddress != channel.remoteAddress else {
            answer.succeed(nil)
            return false
        }
        guard let path else {
            answer.succeed(nil)
            return true
        }
        let timeout = loop.scheduleTask(in: Self.timeout) { answer.succeed(nil) }
        defer { timeout.cancel() }
        let headers = HTTPHeaders([("Host", "\(host):\(port)"), ("Connection", "close")])
        channel.write(
            HTTPClientRequestPart.head(HTTPRequestHead(version: .http1_1, method: .GET, uri: path, headers: headers)), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        let status = try? await answer.futureResult.get()
        note(status.map { "GET \(path) is answered with \($0.code)" } ?? "GET \(path) is not answered")
        return status.map { (200..<400).contains($0.code) } ?? false
    }
}

private final class StatusHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let answer: EventLoopPromise<HTTPResponseStatus?>

    init(_ answer: EventLoopPromise<HTTPResponseStatus?>) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) { answer.succeed(head.status) }
    }

    func channelInactive(context: ChannelHandlerContext) { answer.succeed(nil) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        answer.succeed(nil)
        context.close(promise: nil)
    }
}

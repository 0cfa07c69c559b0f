#if Redis
    import Glibc
    import MeshCore
    import NIOCore
    import NIOPosix

    /// The one place where channels are made.
    struct RedisConnector: Sendable {
        let eventLoop: any EventLoop
        /// The longest wait for a connection, and again for a handshake.
        let timeout: Duration
        /// Nil where connections are in clear text.
        let tls: RedisTLS?

        /// - Parameter handler: learns that the channel is active when it may write to it, and of an error before that when it never may.
        func connect(
            to server: RedisAddress.Server, _ handler: @escaping @Sendable () -> some ChannelInboundHandler
        ) async throws -> any Channel {
            let bootstrap = ClientBootstrap(group: eventLoop)
                .connectTimeout(TimeAmount(timeout))
                .channelInitializer { [tls, timeout] channel in
                    channel.eventLoop.makeCompletedFuture {
                        if let tls, case .tcp(let server) = server {
                            try channel.pipeline.syncOperations.addHandlers(tls.handlers(for: server, timeout: timeout))
                        }
                        try channel.pipeline.syncOperations.addHandler(handler())
                    }
                }
            switch server {
            case .tcp(let server): return try await bootstrap.connect(host: server.host, port: server.port).get()
            case .unix(let path): return try await bootstrap.connect(unixDomainSocketPath: path).get()
            }
        }

        /// What a connection that could not be made, or broke, means to who waits for an answer.
        /// - Parameter what: what went wrong unless the error itself says it better.
        static func error(_ error: any Error, _ what: String) -> MirrorError {
            switch error {
            case let error as MirrorError: error
            case let error as RedisHandshake.TimedOut:
                MirrorError(
                    .timedOut,
                    "no TLS was spoken within \(error.after.nanoseconds / 1_000_000) ms; write redis:// if it is a redis without, or name its port for TLS"
                )
            default: MirrorError(.unreachable, RedisTLS.reason(error) ?? "\(what): \(reason(error))")
            }
        }

        /// In one line.
        private static func reason(_ error: any Error) -> String {
            switch error {
            case let error as NIOConnectionError:
                // One error an address; the last is as good as any, and a name without addresses has none.
                if let last = error.connectionErrors.last { return RedisTLS.reason(last.error) ?? reason(last.error) }
                return error.dnsAError == nil && error.dnsAAAAError == nil
                    ? "no address could be connected to" : "its host name has no address"
            case let error as ChannelError:
                if case .connectTimeout(let timeout) = error { return "no connection within \(timeout.nanoseconds / 1_000_000) ms" }
                return RedisErrorReply.oneLine("\(error)")
            case let error as IOError: return String(cString: strerror(error.errnoCode))
            default: return RedisErrorReply.oneLine("\(error)")
            }
        }

        /// Stays until the channel is closed; closes it when the task is cancelled.
        static func untilClosed(_ channel: any Channel) async {
            await withTaskCancellationHandler {
                try? await channel.closeFuture.get()
            } onCancel: {
                channel.close(promise: nil)
            }
        }
    }
#endif

#if Redis
    import MeshCore
    import NIOCore

    extension RedisConnector {
        /// Asks a server once, over a connection of its own, without logging in.
        func ask(_ server: RedisAddress.Server, _ command: RedisCommand) async throws(MirrorError) -> RedisReply {
            var request = ByteBuffer()
            guard command.write(to: &request) else { throw MirrorError(.unreachable, "there is no memory for a request") }
            let answer = eventLoop.makePromise(of: RedisReply.self)
            // As long for the connection as for the answer.
            let timer = eventLoop.scheduleTask(in: TimeAmount(timeout * 2)) { [timeout] in
                answer.fail(MirrorError(.timedOut, "no answer within \(timeout * 2)"))
            }
            defer { timer.cancel() }
            do {
                return try await withTaskCancellationHandler {
                    do {
                        let channel = try await connect(to: server) { [request] in RedisInquiryHandler(request: request, answer: answer) }
                        defer { channel.close(promise: nil) }
                        return try await answer.futureResult.get()
                    } catch {
                        answer.fail(error)
                        throw error
                    }
                } onCancel: {
                    answer.fail(MirrorError(.unreachable, "nobody waits for the answer any more"))
                }
            } catch {
                throw Self.error(error, "no connection")
            }
        }
    }

    /// Asks, and takes one answer.
    private final class RedisInquiryHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let request: ByteBuffer
        private let answer: EventLoopPromise<RedisReply>
        private var reader: RedisReplyReader?

        init(request: ByteBuffer, answer: EventLoopPromise<RedisReply>) {
            self.request = request
            self.answer = answer
        }

        func handlerAdded(context: ChannelHandlerContext) { reader = RedisReplyReader() }
        func handlerRemoved(context: ChannelHandlerContext) { reader = nil }

        func channelActive(context: ChannelHandlerContext) { context.writeAndFlush(wrapOutboundOut(request), promise: nil) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            do throws(RedisReplyReader.Failure) {
                try reader?.feed(unwrapInboundIn(data))
                if let reply = try reader?.next() { answer.succeed(reply) }
            } catch {
                answer.fail(MirrorError(.unreachable, error.reason))
            }
        }

        func channelInactive(context: ChannelHandlerContext) { answer.fail(MirrorError(.unreachable, "it closed the connection")) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            answer.fail(error)
            context.close(promise: nil)
        }
    }
#endif

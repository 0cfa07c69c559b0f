#if Redis
    import Logging
    import MeshCore
    import NIOCore

    /// The shell around a ``RedisPipeline``: the channel, the timer and those who wait. It lives on one event loop and is touched nowhere
    /// else.
    final class RedisLink {
        typealias Waiter = CheckedContinuation<Result<[RedisReply], MirrorError>, Never>

        private var pipeline = RedisPipeline<Waiter>()
        private let eventLoop: any EventLoop
        private let greeting: RedisGreeting
        private let configuration: RedisMirror.Configuration
        private let logger: Logger
        /// The handler of the connection in use. What an older one still has to say is not listened to.
        private var handler: RedisChannelHandler?
        private var timer: Scheduled<Void>?
        private var timerDeadline: NIODeadline?

        init(eventLoop: any EventLoop, configuration: RedisMirror.Configuration, logger: Logger) {
            self.eventLoop = eventLoop
            self.configuration = configuration
            self.logger = logger
            greeting = RedisGreeting(configuration.address)
        }

        var hasServed: Bool { pipeline.hasServed }

        func submit(_ request: ByteBuffer, commands: Int, waiter: Waiter) {
            let deadline = NIODeadline.now() + TimeAmount(configuration.commandTimeout)
            perform(pipeline.submit(.init(ticket: waiter, request: request, commands: commands, deadline: deadline)))
        }

        func started() { pipeline.started() }
        func stopped() { perform(pipeline.stopped()) }

        func failedToConnect(_ error: MirrorError) {
            logger.debug("mirror can't be reached", metadata: [LogKey.mirror: "\(configuration.address)", LogKey.reason: "\(error)"])
            perform(pipeline.lost(error))
        }

        fileprivate func connected(_ handler: RedisChannelHandler) {
            self.handler = handler
            guard let request = greeting.request else {
                return perform(pipeline.lost(MirrorError(.unreachable, "there is no memory to greet redis")))
            }
            let deadline = NIODeadline.now() + TimeAmount(configuration.connectTimeout)
            perform(pipeline.connected(greeting: request, commands: greeting.commands, deadline: deadline))
        }

        fileprivate func received(_ reply: RedisReply, by handler: RedisChannelHandler) {
            guard handler === self.handler else { return }
            perform(pipeline.received(reply))
        }

        fileprivate func lost(_ error: MirrorError, by handler: RedisChannelHandler) {
            guard handler === self.handler else { return }
            logger.debug("mirror connection lost", metadata: [LogKey.mirror: "\(configuration.address)", LogKey.reason: "\(error)"])
            perform(pipeline.lost(error))
        }

        private func perform(_ directives: [RedisPipeline<Waiter>.Directive]) {
            var hasWritten = false
            for directive in directives {
                switch directive {
                case .write(let request):
                    handler?.write(request)
                    hasWritten = true
                case .answer(let waiter, let outcome):
                    waiter.resume(returning: outcome.mapError { placed($0) })
                case .greeted(let replies):
                    if let error = greeting.verdict(on: replies) {
                        logger.debug(
                            "mirror refused the greeting", metadata: [LogKey.mirror: "\(configuration.address)", LogKey.reason: "\(error)"])
                        perform(pipeline.lost(error))
                    } else {
                        logger.debug("mirror connected", metadata: [LogKey.mirror: "\(configuration.address)"])
                        perform(pipeline.accepted())
                    }
                case .closeConnection:
                    let handler = handler
                    self.handler = nil
                    handler?.close()
                }
            }
            if hasWritten { handler?.flush() }
            setTimer()
        }

        /// A timer for the first deadline. One that runs already for an earlier moment is left: it finds nothing due and sets the next.
        private func setTimer() {
            guard let deadline = pipeline.nextDeadline else { return }
            if let timerDeadline, timerDeadline <= deadline { return }
            timer?.cancel()
            timerDeadline = deadline
            let link = NIOLoopBound(self, eventLoop: eventLoop)
            timer = eventLoop.scheduleTask(deadline: deadline) { link.value.tick() }
        }

        private func tick() {
            timerDeadline = nil
            perform(pipeline.tick(.now()))
        }

        /// The pipeline doesn't know where its Redis is; people want to.
        private func placed(_ error: MirrorError) -> MirrorError {
            MirrorError(error.code, "\(error) (\(configuration.address.place))", keys: error.keys)
        }
    }

    /// hiredis at the end of a channel: bytes in, replies out. The reader lives as long as the handler is in a channel.
    final class RedisChannelHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let link: RedisLink
        private var reader: RedisReplyReader?
        private var context: ChannelHandlerContext?

        init(link: RedisLink) {
            self.link = link
        }

        func handlerAdded(context: ChannelHandlerContext) {
            self.context = context
            reader = RedisReplyReader()
        }

        func handlerRemoved(context: ChannelHandlerContext) {
            self.context = nil
            reader = nil
        }

        func channelActive(context: ChannelHandlerContext) {
            link.connected(self)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            do throws(RedisReplyReader.Failure) {
                try reader?.feed(unwrapInboundIn(data))
                // Closing takes the handler out of its channel, and the reader with it: a reply after that has nobody to go to.
                while let reply = try reader?.next() { link.received(reply, by: self) }
            } catch {
                let reason =
                    switch error {
                    case .tooLarge: "redis' answer is larger than \(RedisReplyReader.replyBytesMax) bytes or has too many parts"
                    case .malformed(let words): "what answers is not redis: \(RedisErrorReply.oneLine(words))"
                    }
                link.lost(MirrorError(.unreachable, reason), by: self)
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            link.lost(MirrorError(.unreachable, "redis closed the connection"), by: self)
            context.fireChannelInactive()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            link.lost(MirrorError(.unreachable, "the connection to redis broke: \(RedisErrorReply.oneLine("\(error)"))"), by: self)
            context.close(promise: nil)
        }

        func write(_ request: ByteBuffer) { context?.write(wrapOutboundOut(request), promise: nil) }
        func flush() { context?.flush() }
        func close() { context?.close(promise: nil) }
    }
#endif

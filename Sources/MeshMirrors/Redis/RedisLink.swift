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
        private let greetingTimeout: TimeAmount
        private let logger: Logger
        /// Where the connection leads that is in use or was tried last; nil before the first.
        private var server: RedisAddress.Server?
        /// The handler of the connection in use. What an older one still has to say is not listened to.
        private var handler: RedisChannelHandler?
        private var timer: Scheduled<Void>?
        private var timerDeadline: NIODeadline?

        init(eventLoop: any EventLoop, greeting: RedisGreeting, greetingTimeout: Duration, logger: Logger) {
            self.eventLoop = eventLoop
            self.greeting = greeting
            self.greetingTimeout = TimeAmount(greetingTimeout)
            self.logger = logger
        }

        var hasServed: Bool { pipeline.hasServed }

        func submit(_ request: ByteBuffer, commands: Int, deadline: NIODeadline, waiter: Waiter) {
            perform(pipeline.submit(.init(ticket: waiter, request: request, commands: commands, deadline: deadline)))
        }

        func started() { pipeline.started() }
        func stopped() { perform(pipeline.stopped()) }

        /// The next connection leads to `server`; nil when it isn't known where it should.
        func turned(to server: RedisAddress.Server?) { self.server = server }

        /// Gives the connection up for one to wherever it should lead now.
        func renewed(_ error: MirrorError) {
            guard handler != nil else { return }
            perform(pipeline.lost(error))
        }

        func failedToConnect(_ error: MirrorError) {
            log("mirror can't be reached", error)
            perform(pipeline.lost(error))
        }

        fileprivate func failedToConnect(_ error: any Error) {
            failedToConnect(RedisConnector.error(error, "redis can't be reached"))
        }

        fileprivate func connected(_ handler: RedisChannelHandler) {
            self.handler = handler
            guard let request = greeting.request else {
                return perform(pipeline.lost(MirrorError(.unreachable, "there is no memory to greet redis")))
            }
            let deadline = NIODeadline.now() + greetingTimeout
            perform(pipeline.connected(greeting: request, commands: greeting.commands, deadline: deadline))
        }

        fileprivate func received(_ reply: RedisReply, by handler: RedisChannelHandler) {
            guard handler === self.handler else { return }
            if greeting.wantsMaster, case .error(let text) = reply, RedisErrorReply(text).word == "READONLY" {
                return lost(
                    MirrorError(.unreachable, "redis is no master any more; the Sentinels are asked for the present one"), by: handler)
            }
            perform(pipeline.received(reply))
        }

        fileprivate func lost(_ error: MirrorError, by handler: RedisChannelHandler) {
            guard handler === self.handler else { return }
            log("mirror connection lost", error)
            perform(pipeline.lost(error))
        }

        fileprivate func broke(_ error: MirrorError, by handler: RedisChannelHandler) {
            let mayWantTLS = pipeline.phase == .greeting && !greeting.isEncrypted
            let hint = mayWantTLS ? ", and without an answer; if TLS is spoken there, write rediss://" : ""
            lost(MirrorError(error.code, "\(error)\(hint)"), by: handler)
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
                    if let server, let error = greeting.verdict(on: replies, of: server) {
                        log("mirror refused the greeting", error)
                        perform(pipeline.lost(error))
                    } else {
                        log("mirror connected")
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
            MirrorError(error.code, server.map { "\(error) (\($0))" } ?? error.description, keys: error.keys)
        }

        private func log(_ event: Logger.Message, _ error: MirrorError? = nil) {
            var metadata: Logger.Metadata = [LogKey.mirror: "\(server.map { "\($0)" } ?? "nowhere")"]
            if let error { metadata[LogKey.reason] = "\(error)" }
            logger.debug(event, metadata: metadata)
        }
    }

    /// hiredis at the end of a channel: bytes in, replies out. The reader lives as long as the handler is in a channel.
    final class RedisChannelHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let link: RedisLink
        private var reader: RedisReplyReader?
        private var context: ChannelHandlerContext?
        private var isActive = false

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
            isActive = true
            link.connected(self)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            do throws(RedisReplyReader.Failure) {
                try reader?.feed(unwrapInboundIn(data))
                // Closing takes the handler out of its channel, and the reader with it: a reply after that has nobody to go to.
                while let reply = try reader?.next() { link.received(reply, by: self) }
            } catch {
                link.lost(MirrorError(.unreachable, error.reason), by: self)
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            link.broke(MirrorError(.unreachable, "redis closed the connection"), by: self)
            context.fireChannelInactive()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if isActive {
                link.broke(RedisConnector.error(error, "the connection to redis broke"), by: self)
            } else {
                link.failedToConnect(error)
            }
            context.close(promise: nil)
        }

        func write(_ request: ByteBuffer) { context?.write(wrapOutboundOut(request), promise: nil) }
        func flush() { context?.flush() }
        func close() { context?.close(promise: nil) }
    }
#endif

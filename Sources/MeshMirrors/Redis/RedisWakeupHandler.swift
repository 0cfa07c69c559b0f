#if Redis
    import MeshCore
    import NIOCore

    /// A connection that hears announcements and asks nothing.
    final class RedisWakeupHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let wakeups: Wakeups
        private let greeting: RedisGreeting
        private let server: RedisAddress.Server
        private var reader: RedisReplyReader?
        private var greeted: [RedisReply] = []

        init(wakeups: Wakeups, greeting: RedisGreeting, server: RedisAddress.Server) {
            self.wakeups = wakeups
            self.greeting = greeting
            self.server = server
        }

        func handlerAdded(context: ChannelHandlerContext) { reader = RedisReplyReader() }
        func handlerRemoved(context: ChannelHandlerContext) { reader = nil }

        func channelActive(context: ChannelHandlerContext) {
            var command = RedisCommand("PSUBSCRIBE")
            command.append("\(Slot.redisKeyPrefix)*".utf8)
            guard var request = greeting.request, command.write(to: &request) else { return context.close(promise: nil) }
            context.writeAndFlush(wrapOutboundOut(request), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            do throws(RedisReplyReader.Failure) {
                try reader?.feed(unwrapInboundIn(data))
                while let reply = try reader?.next() { received(reply, context) }
            } catch {
                context.close(promise: nil)
            }
        }

        private func received(_ reply: RedisReply, _ context: ChannelHandlerContext) {
            if greeted.count < greeting.commands {
                greeted.append(reply)
                // Why it was refused is told by the connection that asks.
                if greeted.count == greeting.commands, greeting.verdict(on: greeted, of: server) != nil { context.close(promise: nil) }
                return
            }
            guard case .array(let parts) = reply, case .bytes(let kind)? = parts.first else { return context.close(promise: nil) }
            if kind == Array("psubscribe".utf8) {
                wakeups.announce(nil)
            } else if parts.count == 4, case .bytes(let channel) = parts[2], let slot = Slot(redisKey: channel) {
                wakeups.announce(slot)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
#endif

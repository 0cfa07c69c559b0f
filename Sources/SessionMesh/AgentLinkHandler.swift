import MeshCore
import NIOCore

/// Turns an agent's bytes into values for the link, on the loop that both live on.
final class AgentLinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let link: AgentLink
    private let generation: Int
    private var parser = RESPParser(limits: .replies)

    init(link: AgentLink, generation: Int) {
        self.link = link
        self.generation = generation
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = Self.unwrapInboundIn(data)
        parser.append(buffer.readableBytesView)
        do {
            while let value = try parser.next() {
                link.assumeIsolated { [generation] in $0.received(value, generation: generation) }
            }
        } catch {
            errorCaught(context: context, error: error)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        link.assumeIsolated { [generation] in $0.disconnected(generation: generation) }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        link.assumeIsolated { $0.abandon(because: error) }
        context.close(promise: nil)
    }
}

#if Redis
    import MeshCore
    import NIOCore
    import NIOSSL
    import NIOTLS

    /// How connections over TLS are made and checked: the chain of the certificate up to a known authority, and its name.
    struct RedisTLS: Sendable {
        /// What closing waits for Redis to say goodbye, too.
        private static let goodbyeTimeout = TimeAmount.milliseconds(100)

        private let options: RedisAddress.TLS
        private let first: NIOSSLContext

        /// - Throws: when a file can't be used.
        init(_ options: RedisAddress.TLS) throws(MirrorURI.Invalid) {
            self.options = options
            do throws(Unusable) { first = try Self.context(options) } catch { throw MirrorURI.Invalid(error.reason) }
        }

        /// A file of the options that can't be used.
        struct Unusable: Error {
            let reason: String
        }

        /// For the next connection. Files are read anew, so that a renewed certificate is used without a restart.
        func handlers(for server: HostAndPort, timeout: Duration) throws -> [any ChannelHandler] {
            let context = options == RedisAddress.TLS() ? first : try Self.context(options)
            // An address can't be asked for by name; it is looked for among the addresses of the certificate.
            let isAddress = (try? SocketAddress(ipAddress: server.host, port: server.port)) != nil
            return [
                try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : server.host),
                RedisHandshake(timeout: TimeAmount(timeout)),
            ]
        }

        private static func context(_ options: RedisAddress.TLS) throws(Unusable) -> NIOSSLContext {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.shutdownTimeout = goodbyeTimeout
            if let path = options.authorities {
                configuration.trustRoots = .certificates(try certificates(path, of: "ca"))
            }
            if let path = options.certificate, let keyPath = options.key {
                configuration.certificateChain = try certificates(path, of: "cert").map { .certificate($0) }
                do {
                    configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: keyPath, format: .pem))
                } catch {
                    throw Unusable(reason: "the file of key=, \(keyPath), has no private key in PEM that can be read")
                }
            }
            do {
                return try NIOSSLContext(configuration: configuration)
            } catch {
                throw Unusable(
                    reason: options.certificate == nil
                        ? "the certificates of the system's authorities can't be read; name a file of them by ca="
                        : "the files of cert= and key= don't belong together, or hold a certificate that can't be used")
            }
        }

        private static func certificates(_ path: String, of option: String) throws(Unusable) -> [NIOSSLCertificate] {
            let certificates = try? NIOSSLCertificate.fromPEMFile(path)
            guard let certificates, !certificates.isEmpty else {
                throw Unusable(reason: "the file of \(option)=, \(path), has no certificate in PEM that can be read")
            }
            return certificates
        }

        /// Why a connection over TLS could not be made, in one line; nil when TLS has nothing to do with it.
        static func reason(_ error: any Error) -> String? {
            switch error {
            case let error as Unusable: return error.reason
            case let error as NIOSSLExtraError where error == .failedToValidateHostname:
                return "the certificate of redis is for another host; name redis as its certificate does"
            case is NIOSSLExtraError: return "the host can't be checked by a certificate: \(RedisErrorReply.oneLine("\(error)"))"
            case NIOSSLError.uncleanShutdown: return "redis closed the connection"
            case is NIOSSLError, is BoringSSLError: return reason(openSSL: "\(error)")
            default: return nil
            }
        }

        /// The library tells what happened only by a list of its errors, each with a code in capitals.
        private static func reason(openSSL text: String) -> String {
            if text.contains("CERTIFICATE_VERIFY_FAILED") {
                return
                    "the certificate of redis can't be trusted: it has expired, or no known authority has signed it; name the authority's file by ?ca="
            }
            if text.contains("WRONG_VERSION_NUMBER") || text.contains("EOF during handshake") {
                return "no TLS is spoken there; write redis:// if connections shall not be encrypted, or name the port for TLS"
            }
            if text.contains("CERTIFICATE_REQUIRED") || text.contains("HANDSHAKE_FAILURE") {
                return "redis wants a certificate of ours; name it and its key by ?cert= and &key="
            }
            if text.contains("UNKNOWN_CA") || text.contains("BAD_CERTIFICATE") || text.contains("CERTIFICATE_UNKNOWN") {
                return "redis doesn't trust the certificate named by cert="
            }
            return "TLS failed: \(RedisErrorReply.oneLine(text))"
        }
    }

    /// Holds back that a channel is active until what goes over it is encrypted.
    final class RedisHandshake: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        /// A handshake that was not answered.
        struct TimedOut: Error {
            let after: TimeAmount
        }

        private let timeout: TimeAmount
        private var timer: Scheduled<Void>?

        init(timeout: TimeAmount) {
            self.timeout = timeout
        }

        func channelActive(context: ChannelHandlerContext) {
            let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
            timer = context.eventLoop.scheduleTask(in: timeout) { [timeout] in
                bound.value.fireErrorCaught(TimedOut(after: timeout))
                bound.value.close(promise: nil)
            }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent else {
                return context.fireUserInboundEventTriggered(event)
            }
            timer?.cancel()
            context.fireChannelActive()
        }

        func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }
    }
#endif

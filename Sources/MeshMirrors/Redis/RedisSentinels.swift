#if Redis
    import MeshCore
    import Synchronization

    /// Sentinels, who watch a master and its replicas and agree on another master when it dies.
    ///
    /// They are asked one after another, the one that answered last before the others, as https://redis.io/docs/latest/develop/reference/sentinel-clients/
    /// says. What one of them names may have been demoted a moment ago, so whoever connects there asks for its role.
    final class RedisSentinels: Sendable {
        private let name: String
        private let connector: RedisConnector
        private let order: Mutex<[HostAndPort]>

        init(_ hosts: [HostAndPort], name: String, _ connector: RedisConnector) {
            self.name = name
            self.connector = connector
            order = Mutex(hosts)
        }

        func master() async throws(MirrorError) -> RedisAddress.Server {
            let hosts = order.withLock { $0 }
            var failures: [MirrorError] = []
            for host in hosts {
                do throws(MirrorError) {
                    let master = try await master(by: host)
                    order.withLock { $0 = [host] + $0.filter { $0 != host } }
                    return .tcp(master)
                } catch {
                    failures.append(error)
                }
            }
            // Of two kinds of failure the more telling: a Sentinel that answers something else than a master.
            let told = failures.first { $0.code == .refused } ?? failures.last
            throw told ?? MirrorError(.unreachable, "no Sentinel is named")
        }

        private func master(by host: HostAndPort) async throws(MirrorError) -> HostAndPort {
            var command = RedisCommand("SENTINEL")
            command.append("GET-MASTER-ADDR-BY-NAME".utf8)
            command.append(name.utf8)
            let reply: RedisReply
            do throws(MirrorError) {
                reply = try await connector.ask(.tcp(host), command)
            } catch {
                throw MirrorError(error.code, "no Sentinel answers; the one at \(host): \(error)")
            }
            switch reply {
            case .array(let parts):
                guard parts.count == 2, case .bytes(let name) = parts[0], let port = parts[1].number,
                    let master = HostAndPort(announced: String(decoding: name, as: UTF8.self), port: Int(clamping: port))
                else { throw MirrorError(.refused, "the Sentinel at \(host) names a master whose address can't be read") }
                return master
            case .null: throw MirrorError(.refused, "no Sentinel knows a master by the name of the mirror URI; the one at \(host) doesn't")
            case .error(let text) where RedisErrorReply(text).word == "NOAUTH":
                throw MirrorError(
                    .refused, "the Sentinel at \(host) wants a password, and a mirror asks without; let it answer the default user")
            case .error(let text):
                throw MirrorError(.refused, "what is at \(host) is no Sentinel, or won't answer: \(RedisErrorReply(text).words)")
            default: throw MirrorError(.refused, "what is at \(host) is no Sentinel")
            }
        }
    }

    extension HostAndPort {
        /// As a server tells of another; nil when no host is called so.
        init?(announced host: String, port: Int) {
            guard 1...65535 ~= port,
                let server = try? MirrorURI.hostAndPort(Substring(host.contains(":") ? "[\(host)]" : host), defaultPort: port, form: "")
            else { return nil }
            self = server
        }
    }
#endif

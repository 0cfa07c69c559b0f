import Glibc
import MeshLoop

/// Files that are read and written whole.
enum SmallFile {
    enum Content: Equatable {
        case bytes([UInt8])
        case missing
        case tooLarge
        case failed(String)
    }

    /// Reads no more than is allowed, whatever the file claims to be. Never waits: a pipe without a writer has nothing to say.
    static func read(_ path: String, bytesMax: Int) -> Content {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return errno == ENOENT ? .missing : .failed(SystemError(number: errno).description) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let room = piece.count
            let count = piece.withUnsafeMutableBytes { systemRead(descriptor, $0.baseAddress, room) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return .failed(SystemError(number: errno).description) }
            guard count > 0 else { return .bytes(bytes) }
            bytes += piece.prefix(count)
            guard bytes.count <= bytesMax else { return .tooLarge }
        }
    }

    /// Puts the bytes in the place of what the file held, for this user alone: whoever reads it, also after a crash, finds the old ones or the new.
    /// - Returns: why it could not be done; nil when it was.
    static func replace(_ path: String, with bytes: [UInt8]) -> String? {
        let draft = "\(path).new"
        unlink(draft)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return SystemError(number: errno).description }
        var failure = write(bytes, to: descriptor)
        if failure == nil, fsync(descriptor) != 0 { failure = SystemError(number: errno).description }
        close(descriptor)
        if failure == nil, rename(draft, path) != 0 { failure = SystemError(number: errno).description }
        if failure != nil { unlink(draft) }
        return failure
    }

    private static func write(_ bytes: [UInt8], to descriptor: CInt) -> String? {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return SystemError(number: errno).description }
            rest = rest.dropFirst(count)
        }
        return nil
    }
}

/// Under names of their own, since the type here has them too.
private func systemRead(_ descriptor: CInt, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int { read(descriptor, bytes, count) }
private func systemWrite(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int { write(descriptor, bytes, count) }

# Asks this sandbox's proxy for each line of a file, on a connection each, and
# prints what it answered: the status, 0 if the connection was just closed. A
# line is the request's bytes in hex; {auth} in it stands for the credential.
import binascii
import os
import socket
import sys

at, address = os.environ["HTTP_PROXY"][len("http://"):].rstrip("/").split("@")
host, port = address.split(":")
auth = b"Proxy-Authorization: Basic " + binascii.b2a_base64(at.encode(), newline=False)

for line in open(sys.argv[1]):
    s = socket.create_connection((host, int(port)), 20)
    s.settimeout(20)
    try:
        s.sendall(bytes.fromhex(line.strip()).replace(b"{auth}", auth))
        answer = s.recv(65536)
    except ConnectionResetError:
        answer = b""
    s.close()
    print(int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 0)
